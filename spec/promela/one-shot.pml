/*
 * The receive channels in version 4 of the fixed-ram series: a channel quits at the first sync.
 *
 * Each channel has a semaphore sem, a flag pending_job and a semaphore sem_sync of its own.  A
 * channel that wakes without a job leaves its loop, and posts its sem_sync on the way out;
 * sync_main waits for just that.  So a second sync waits for threads that are gone: SYNCS=2 must
 * fail.
 *
 * With multifd_flush_after_each_section on, that version wrote no MULTIFD_FLUSH and ignored EOS: no
 * sync at all.  NO_SYNC is that case and must fail: a channel can still be reading when the load
 * counts as done, and a job can be left undone altogether.
 *
 * DYING=1 must fail, though nothing hangs: a channel that dies posts its sem_sync before it says
 * that it failed, so sync_main can return as if all were well.
 */

#ifdef NO_SYNC
#define SYNCS 0
#endif
#include "common.pml"

/* multifd_recv_terminate_threads(): of all calls only the first does anything. */
inline terminate_threads()
{
    bool first = false;

    atomic {            /* qatomic_xchg() */
        first = !exiting;
        exiting = true
    }
    if
    :: first ->
        for (k : 0 .. CHANNELS - 1) {
            sem_post(params[k].sem)
        }
    :: else
    fi
}

/* multifd_recv_thread(), the branches without packets. */
proctype multifd_recv_thread(byte id)
{
    byte k;
    bool local_err;

    do
    ::  sem_wait(params[id].sem);
        if
        :: exiting -> break
        :: else
        fi;
        if
        :: !params[id].pending_job -> break     /* no job: this is the sync, the one and only */
        :: else
        fi;
        if
        :: recv(params[id].data)
        :: recv_fails -> local_err = true; break
        fi;
        params[id].data = 0;
        params[id].pending_job = false
    od;
    sem_post(params[id].sem_sync);
    if
    :: local_err -> terminate_threads()
    :: else
    fi;
    params[id].ended = true
}

/* multifd_recv(): looks round after round for a channel without a job, to give it the next one. */
inline multifd_recv()
{
    do
    :: exiting -> failed = true; break
    :: else ->
        if
        :: !params[next_recv_channel].pending_job ->
            assert(params[next_recv_channel].data == 0);
            handed_out++;
            params[next_recv_channel].data = handed_out;
            params[next_recv_channel].pending_job = true;
            sem_post(params[next_recv_channel].sem);
            next_recv_channel = (next_recv_channel + 1) % CHANNELS;
            break
        :: else -> next_recv_channel = (next_recv_channel + 1) % CHANNELS
        fi
    od
}

/* multifd_recv_sync_main(), which for a file is multifd_file_recv_sync(). */
inline multifd_recv_sync_main()
{
    for (i : 0 .. CHANNELS - 1) {
        sem_post(params[i].sem);
        sem_wait(params[i].sem_sync)
    }
    assert(jobs_done == handed_out || exiting)
}

/* multifd_recv_cleanup() */
inline multifd_recv_cleanup()
{
    terminate_threads();
    for (i : 0 .. CHANNELS - 1) {
        params[i].ended         /* qemu_thread_join() */
    }
}

/* The thread that runs ram_load(): all jobs (parse_ramblocks()), then the syncs, then the end. */
init
{
    byte i, k, next_recv_channel, syncs;
    bool failed;

    atomic {
        for (i : 0 .. CHANNELS - 1) {
            run multifd_recv_thread(i)
        }
    }
    do
    :: handed_out < JOBS && !failed -> multifd_recv()
    :: else -> break
    od;
    do
    :: syncs < SYNCS && !failed -> multifd_recv_sync_main(); syncs++
    :: else -> break
    od;
    cleanup = !exiting;         /* a load that has failed is no load */
    multifd_recv_cleanup();
    assert(jobs_done == handed_out || dead > 0);
    main_done = true
}
