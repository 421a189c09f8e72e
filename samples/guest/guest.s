# The guest of the x86 samples: a 64 KiB BIOS that fills memory with a known pattern.
#
# It is a BIOS rather than a kernel so that nothing but our own code ever runs in the sample
# guests: no firmware, no boot loader, no option ROM leaves its bytes in an image.
# README.md beside this file describes the pattern; the two must be changed together.
#
# Assembled twice: as it stands ("once": fill, say so, halt) and with the symbol LOOP
# defined ("loop": fill, say so, then keep changing pages for as long as it runs).
#
# There is no stack: a stack would leave return addresses in RAM beside the pattern. The one
# subroutine takes its return address in EBX.

        .intel_syntax noprefix

        .set    STATUS,     0x7000      # the status page: banner, state, passes
        .set    STATE,      STATUS + 16
        .set    PASSES,     STATUS + 20
        .set    FIRST,      0x100       # page number of step 0 (1 MiB)
        .set    STRIDE,     167         # pages from one step to the next; prime
        .set    STEPS,      32          # the last step is page 5433, above 21 MiB
        .set    MULTIPLIER, 0x9e3779b1
        .set    LAST_BYTE,  0xa5
        .set    DEBUGCON,   0xe9

        .text
        .globl  _start
_start:                                 # linked at 0xffff0000, where reset finds a 64 KiB BIOS

# ---------------------------------------------------------------- protected mode, flat
        .code32
start32:
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        cld

        mov     edi, STATUS
        mov     esi, offset banner
        mov     ecx, 4
        rep movsd
        xor     eax, eax
        stosd                           # STATE: 0 = still filling
        stosd                           # PASSES

        xor     edx, edx                # EDX = k, the step; ESI = p, its page number
        mov     esi, FIRST
fill_all:
        mov     ebx, offset filled
        jmp     fill_step
filled: inc     edx
        add     esi, STRIDE
        cmp     edx, STEPS
        jb      fill_all

        inc     dword ptr [STATE]       # 1 = the pattern is complete
        mov     esi, offset done
        mov     ecx, offset done_end - done
        mov     edx, DEBUGCON
        rep outsb

        .ifdef  LOOP
# ---------------------------------------------------------------- keep changing pages
pass:
        inc     dword ptr [PASSES]
        xor     edx, edx
        mov     esi, FIRST
step:
        mov     ebx, offset next
        mov     edi, esi
        shl     edi, 12
        mov     eax, edx
        and     eax, 3
        cmp     eax, 1
        je      flip

        mov     eax, edx                # a counting page: k % 3 == 0, and of the full kind
        mov     ecx, (3 << 16) | (5 << 8) | 7
        div     cl
        test    ah, ah
        jz      next
        mov     eax, edx
        mov     cl, ch
        div     cl
        test    ah, ah
        jz      next
        mov     eax, edx
        shr     ecx, 16
        div     cl
        test    ah, ah
        jnz     next
        inc     dword ptr [edi + 8]     # word 2
        jmp     next

flip:                                   # a flipping page: i = k / 4
        mov     ecx, edx
        shr     ecx, 2
        mov     eax, ecx
        shl     eax, 5
        cmp     al, byte ptr [PASSES]   # its turn once every 256 passes, at 32 * i
        jne     next
        add     ecx, dword ptr [PASSES + 1]     # PASSES >> 8, in the low 24 bits
        test    cl, 1
        jnz     zero_page               # wipe
        jmp     fill_step               # refill

next:   inc     edx
        add     esi, STRIDE
        cmp     edx, STEPS
        jb      step
        jmp     pass
        .else
halt:   cli
        hlt
        jmp     halt
        .endif

# ---------------------------------------------------------------- one step of the pattern
# In: EDX = k, ESI = p, EBX = where to go on. Changes EAX, ECX, EDI.
fill_step:
        mov     edi, esi
        shl     edi, 12
        mov     eax, edx
        mov     cl, 7
        div     cl
        test    ah, ah
        jz      zero_page
        mov     eax, edx
        mov     cl, 5
        div     cl
        test    ah, ah
        jz      last_byte

        imul    eax, esi, MULTIPLIER
        mov     ecx, 1024
1:      stosd
        inc     eax
        loop    1b
        test    dl, 3
        jnz     2f
        lea     eax, [esi + 1]          # EDI already stands at page p + 1
        imul    eax, eax, MULTIPLIER
        mov     ecx, 1024
1:      stosd
        inc     eax
        loop    1b
2:      jmp     ebx

last_byte:
        xor     eax, eax
        mov     ecx, 1024
        rep stosd
        mov     byte ptr [edi - 1], LAST_BYTE
        jmp     ebx

zero_page:
        xor     eax, eax
        mov     ecx, 1024
        rep stosd
        jmp     ebx

banner: .ascii  "fixedram guest 1"
done:   .ascii  "pattern done\n"
done_end:

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      # 0x08: code, 4 GiB, 32 bits
        .quad   0x00cf92000000ffff      # 0x10: data, 4 GiB
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

# ---------------------------------------------------------------- real mode, after reset
        .code16
start16:
        cli
        lgdtd   cs:[gdtr - _start]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        ljmpd   0x08, offset start32

        .org    0xfff0
        jmp     start16
        .org    0x10000
