meta:
  id: fixedram
  title: QEMU fixed-ram / mapped-ram migration image
  application: QEMU, libvirt
  license: MIT
  ks-version: '0.10'
  encoding: UTF-8
  endian: be
doc: |
  FORMAT.md says what everything means. The stream is read from where the given stream stands, so an
  image at an offset is read by seeking there first; a libvirt save is recognised.

  Pages are not read: each element knows its `stop`, and the next one is read from there
  (`items[i].item`, `records[i].record`, `blocks[i].block`). Bitmaps and pages are there when they
  are asked for.

  Three things are not in the bytes and are taken as they mostly are: the bitmaps have 64-bit longs,
  device bodies end at the first footer with their id and something that can follow it, and pages of
  ordinary streams have 4 KiB where configuration/target-page-bits does not tell otherwise.
doc-ref: FORMAT.md
seq:
  - id: start
    type: mark
instances:
  first_byte:
    pos: start.offset
    type: u1
  is_libvirt:
    value: first_byte == 0x4c
    doc: L of Libvirt
  libvirt:
    pos: start.offset
    type: libvirt_save
    if: is_libvirt
  stream_offset:
    value: 'is_libvirt ? start.offset + 92 + libvirt.data_len : start.offset'
  libvirt_version_as_le:
    pos: start.offset + 16
    type: u4le
    if: is_libvirt
  head:
    pos: stream_offset
    type: stream_head
  stream:
    pos: head.end.offset
    type: stream_items
types:
  mark:
    doc: Where the reader stands; takes no bytes.
    seq:
      - id: nothing
        size: 0
        if: offset >= 0
    instances:
      offset:
        value: _io.pos
  libvirt_save:
    doc: In the byte order of the host that saved.
    meta:
      endian:
        switch-on: _root.libvirt_version_as_le
        cases:
          1: le
          2: le
          _: be
    seq:
      - id: magic
        size: 16
        type: str
      - id: version
        type: u4
      - id: data_len
        type: u4
      - id: was_running
        type: u4
      - id: format
        type: u4
        enum: save_format
      - id: cookie_offset
        type: u4
      - id: unused
        size: 56
      - id: xml
        size: data_len
  stream_head:
    seq:
      - id: magic
        contents: QEVM
      - id: version
        type: u4
      - id: configuration_follows
        type: next_byte
      - id: configuration
        type: configuration
        if: configuration_follows.value == 0x07
      - id: end
        type: mark
    instances:
      is_mapped:
        value: 'configuration_follows.value == 0x07 ? configuration.is_mapped : false'
      ignores_shared:
        value: 'configuration_follows.value == 0x07 ? configuration.ignores_shared : false'
      page_size:
        value: 'configuration_follows.value == 0x07 ? configuration.page_size : 4096'
  stream_items:
    seq:
      - id: items
        type: 'item_at(_index == 0 ? _root.head.end.offset : items[_index - 1].item.stop, _index == 0 ? -1 : items[_index - 1].item.ram_id, _index == 0 ? -1 : items[_index - 1].item.stattr_id, _index == 0 ? -1 : items[_index - 1].item.htab_id, _index == 0 ? -1 : items[_index - 1].item.dirty_id)'
        repeat: until
        repeat-until: _.item.is_eof
    instances:
      eof_stop:
        value: items.last.item.stop
      description_type:
        pos: eof_stop
        type: u1
        if: eof_stop < _io.size
      description:
        pos: eof_stop
        type: description
        if: 'eof_stop < _io.size ? description_type == 0x06 : false'
  next_byte:
    doc: The byte that comes next, not taken; -1 at the end of the file.
    seq:
      - id: nothing
        size: 0
        if: value >= -1
    instances:
      byte:
        pos: _io.pos
        type: u1
        if: not _io.eof
      value:
        value: '_io.eof ? -1 : byte.as<s4>'
  configuration:
    seq:
      - id: section_type
        contents: [0x07]
      - id: len
        type: u4
      - id: name
        size: len
        type: str
      - id: next
        type: next_byte
      - id: subsections
        type: 'subsection(_index == 0 ? false : subsections[_index - 1].is_mapped, _index == 0 ? false : subsections[_index - 1].ignores_shared, _index == 0 ? 12 : subsections[_index - 1].page_bits)'
        repeat: until
        repeat-until: _.next.value != 0x05
        if: next.value == 0x05
    instances:
      has_subsections:
        value: next.value == 0x05
      is_mapped:
        value: 'has_subsections ? subsections.last.is_mapped : false'
      ignores_shared:
        value: 'has_subsections ? subsections.last.ignores_shared : false'
      page_size:
        value: 'has_subsections ? 1 << subsections.last.page_bits : 4096'
  subsection:
    doc: Of several of one name the last counts.
    params:
      - id: mapped_before
        type: bool
      - id: ignored_before
        type: bool
      - id: bits_before
        type: u4
    seq:
      - id: section_type
        contents: [0x05]
      - id: len
        type: u1
      - id: idstr
        size: len
        type: str
      - id: version_id
        type: u4
      - id: body
        type:
          switch-on: idstr
          cases:
            '"configuration/target-page-bits"': target_page_bits
            '"configuration/capabilities"': capabilities
            '"configuration/uuid"': uuid
      - id: next
        type: next_byte
    instances:
      names_capabilities:
        value: idstr == "configuration/capabilities"
      is_mapped:
        value: 'names_capabilities ? body.as<capabilities>.is_mapped : mapped_before'
      ignores_shared:
        value: 'names_capabilities ? body.as<capabilities>.ignores_shared : ignored_before'
      page_bits:
        value: 'idstr == "configuration/target-page-bits" ? body.as<target_page_bits>.target_page_bits : bits_before'
  target_page_bits:
    seq:
      - id: target_page_bits
        type: u4
  uuid:
    seq:
      - id: uuid
        size: 16
  capabilities:
    seq:
      - id: caps_count
        type: u4
      - id: names
        type: 'capability(_index == 0 ? false : names[_index - 1].is_mapped, _index == 0 ? false : names[_index - 1].ignores_shared)'
        repeat: expr
        repeat-expr: caps_count
    instances:
      is_mapped:
        value: 'caps_count == 0 ? false : names.last.is_mapped'
      ignores_shared:
        value: 'caps_count == 0 ? false : names.last.ignores_shared'
  capability:
    params:
      - id: mapped_before
        type: bool
      - id: ignored_before
        type: bool
    seq:
      - id: len
        type: u1
      - id: capability
        size: len
        type: str
    instances:
      is_mapped:
        value: mapped_before or capability == "mapped-ram" or capability == "fixed-ram"
      ignores_shared:
        value: ignored_before or capability == "x-ignore-shared"
  item_at:
    doc: An item at a position; the ids are those of the sections that come in parts.
    params:
      - id: position
        type: u8
      - id: ram_id
        type: s8
      - id: stattr_id
        type: s8
      - id: htab_id
        type: s8
      - id: dirty_id
        type: s8
    instances:
      item:
        pos: position
        type: item(ram_id, stattr_id, htab_id, dirty_id)
  item:
    params:
      - id: ram_before
        type: s8
      - id: stattr_before
        type: s8
      - id: htab_before
        type: s8
      - id: dirty_before
        type: s8
    seq:
      - id: start
        type: mark
      - id: section_type
        type: u1
        enum: section_type
        valid:
          any-of:
            - section_type::eof
            - section_type::section_start
            - section_type::section_part
            - section_type::section_end
            - section_type::section_full
            - section_type::command
      - id: command
        type: command
        if: section_type == section_type::command
      - id: section_id
        type: u4
        if: is_section
      - id: header
        type: section_header
        if: is_named
      - id: head_end
        type: mark
    instances:
      is_eof:
        value: section_type == section_type::eof
      is_named:
        value: section_type == section_type::section_start or section_type == section_type::section_full
      is_section:
        value: is_named or section_type == section_type::section_part or section_type == section_type::section_end
      is_ram:
        value: 'is_named ? header.idstr == "ram" : is_section and section_id == ram_before'
      is_stattr:
        value: 'is_named ? header.idstr == "s390-storage_attributes" : is_section and section_id == stattr_before'
      is_skeys:
        value: 'is_named ? header.idstr == "s390-skeys" : false'
      is_htab:
        value: 'is_named ? header.idstr == "spapr/htab" : is_section and section_id == htab_before'
      is_dirty:
        value: 'is_named ? header.idstr == "dirty-bitmap" : is_section and section_id == dirty_before'
      is_device:
        value: is_section and not (is_ram or is_stattr or is_skeys or is_htab or is_dirty)
      ram_id:
        value: 'is_named and is_ram ? section_id.as<s8> : ram_before'
      stattr_id:
        value: 'is_named and is_stattr ? section_id.as<s8> : stattr_before'
      htab_id:
        value: 'is_named and is_htab ? section_id.as<s8> : htab_before'
      dirty_id:
        value: 'is_named and is_dirty ? section_id.as<s8> : dirty_before'
      ram:
        pos: head_end.offset
        type: ram_part(head_end.offset)
        if: is_ram
      storage_attributes:
        pos: head_end.offset
        type: s390_words(false)
        if: is_stattr
      storage_keys:
        pos: head_end.offset
        type: s390_words(true)
        if: is_skeys
      hash_table:
        pos: head_end.offset
        type: htab_part
        if: is_htab
      dirty_bitmaps:
        pos: head_end.offset
        type: dirty_bitmap_part
        if: is_dirty
      device:
        pos: head_end.offset
        type: device_body(section_id)
        if: is_device
      body_stop:
        value: 'is_ram ? ram.stop : is_stattr ? storage_attributes.end.offset : is_skeys ? storage_keys.end.offset : is_htab ? hash_table.end.offset : is_dirty ? dirty_bitmaps.end.offset : is_device ? device.stop : head_end.offset'
      footer_type:
        pos: body_stop
        type: u1
        if: is_section and body_stop < _io.size
      has_footer:
        value: 'is_section and body_stop < _io.size ? footer_type == 0x7e : false'
      footer:
        pos: body_stop
        type: section_footer
        if: has_footer
      wrapped_length:
        pos: head_end.offset - 4
        type: u4
        if: section_type == section_type::command and command.command == mig_cmd::packaged
      stop:
        value: 'is_section ? body_stop + (has_footer ? 5 : 0) : section_type == section_type::command ? head_end.offset + (command.command == mig_cmd::packaged ? wrapped_length : 0) : head_end.offset'
  section_header:
    seq:
      - id: len
        type: u1
      - id: idstr
        size: len
        type: str
      - id: instance_id
        type: u4
      - id: version_id
        type: u4
  section_footer:
    seq:
      - id: section_type
        contents: [0x7e]
      - id: section_id
        type: u4
  command:
    seq:
      - id: command
        type: u2
        enum: mig_cmd
      - id: len
        type: u2
      - id: data
        size: len
  description:
    seq:
      - id: section_type
        contents: [0x06]
      - id: length
        type: u4
      - id: json
        size: length
        type: str
  ram_part:
    params:
      - id: position
        type: u8
    seq:
      - id: records
        type: 'record_at(_index == 0 ? position : records[_index - 1].record.stop)'
        repeat: until
        repeat-until: _.record.is_eos
    instances:
      stop:
        value: records.last.record.stop
  record_at:
    params:
      - id: position
        type: u8
    instances:
      record:
        pos: position
        type: ram_record
  ram_record:
    doc: The low eight bits are flags for every page size there is; so the kind is told by them.
    seq:
      - id: start
        type: mark
      - id: word
        type: u8
      - id: idstr
        type: page_idstr
        if: is_page and not continues
      - id: fill
        type: u1
        if: is_zero
      - id: encoding
        type: u1
        if: is_xbzrle
      - id: delta_length
        type: u2
        if: is_xbzrle
      - id: zlib_length
        type: u4
        if: is_compress
      - id: head_end
        type: mark
      - id: blocks
        type: 'block_at(_index == 0 ? head_end.offset : blocks[_index - 1].block.stop, _index == 0 ? 0 : blocks[_index - 1].sum)'
        repeat: until
        repeat-until: _.sum >= address
        if: is_mem_size and address > 0
    instances:
      low:
        value: word % 256
      low_kind:
        value: '(low / 32) % 2 == 1 ? low - 32 : low'
      continues:
        value: (low / 32) % 2 == 1
      is_mem_size:
        value: low_kind == 0x04
      is_eos:
        value: low_kind == 0x10
      is_zero:
        value: low_kind == 0x02
      is_plain:
        value: low_kind == 0x08
      is_xbzrle:
        value: low_kind == 0x40
      is_hook:
        value: low_kind == 0x80
      is_flush:
        value: low_kind == 0 and word % 1024 / 512 == 1
      is_compress:
        value: low_kind == 0 and word % 512 / 256 == 1
      is_page:
        value: is_zero or is_plain or is_xbzrle or is_compress
      address:
        value: word - low
        doc: Or the size; with FLUSH and COMPRESS_PAGE their flag is still in it.
      payload_length:
        value: 'is_plain ? _root.head.page_size : is_xbzrle ? delta_length : is_compress ? zlib_length : 0'
      payload:
        pos: head_end.offset
        size: payload_length
        if: payload_length > 0
      stop:
        value: 'is_mem_size and address > 0 ? blocks.last.block.stop : head_end.offset + payload_length'
  page_idstr:
    seq:
      - id: len
        type: u1
      - id: idstr
        size: len
        type: str
  block_at:
    params:
      - id: position
        type: u8
      - id: sum_before
        type: u8
    instances:
      block:
        pos: position
        type: block
      sum:
        value: sum_before + block.used_length
  block:
    seq:
      - id: len
        type: u1
      - id: idstr
        size: len
        type: str
      - id: used_length
        type: u8
      - id: ahead
        type: 'header_probe(_root.head.ignores_shared ? 8 : 0)'
        if: _root.head.is_mapped
      - id: postcopy_page_size
        type: u8
        if: _root.head.is_mapped and ahead.page_size_first
      - id: region_address
        type: u8
        if: _root.head.ignores_shared
      - id: header
        type: mapped_ram_header
        if: _root.head.is_mapped
      - id: head_end
        type: mark
    instances:
      is_ignored:
        value: '_root.head.is_mapped ? header.bitmap_offset == 0 and header.pages_offset == 0 : true'
        doc: Without a fixed layout true as well, nothing is to be passed over.
      pages_total:
        value: 'is_ignored ? 0 : used_length / header.page_size'
      bitmap:
        pos: header.bitmap_offset
        size: (pages_total + 63) / 64 * 8
        if: not is_ignored
      pages:
        pos: header.pages_offset
        size: used_length
        if: not is_ignored
      stop:
        value: 'is_ignored ? head_end.offset : header.pages_offset + used_length'
  header_probe:
    doc: postcopy-ram puts a page size first, whose upper half is 0 where a header has its version.
    params:
      - id: ahead
        type: u4
    seq:
      - id: nothing
        size: 0
        if: first >= 0
    instances:
      first:
        pos: _io.pos + ahead
        type: u4
      shifted:
        pos: _io.pos + ahead + 8
        type: u4
      page_size_first:
        value: first == 0 and shifted == 1
  mapped_ram_header:
    seq:
      - id: version
        type: u4
      - id: page_size
        type: u8
      - id: bitmap_offset
        type: u8
      - id: pages_offset
        type: u8
  device_body:
    doc: |
      Up to the footer of its id that something which can begin an item follows. The description
      says the length too, where there is one; this does not use it.
    params:
      - id: section_id
        type: u4
    seq:
      - id: pieces
        type: up_to_footer(section_id)
        repeat: until
        repeat-until: _.is_last
    instances:
      stop:
        value: pieces.last.here.offset
  up_to_footer:
    doc: Bytes up to the next 0x7e, and that byte too unless it begins the footer.
    params:
      - id: section_id
        type: u4
    seq:
      - id: bytes
        terminator: 0x7e
        consume: false
        eos-error: false
      - id: here
        type: mark
      - id: no_footer
        size: 1
        if: not is_last
    instances:
      candidate:
        pos: here.offset + 1
        type: u4
        if: here.offset + 5 < _io.size
      behind:
        pos: here.offset + 5
        type: u1
        if: here.offset + 5 < _io.size
      is_last:
        value: 'here.offset + 5 < _io.size ? candidate == section_id and (behind <= 0x04 or behind == 0x08) : true'
  s390_words:
    params:
      - id: is_keys
        type: bool
    seq:
      - id: words
        type: s390_word(is_keys)
        repeat: until
        repeat-until: _.is_last
      - id: end
        type: mark
  s390_word:
    params:
      - id: is_keys
        type: bool
    seq:
      - id: word
        type: u8
      - id: count
        type: u8
        if: flags == 0x02
      - id: data
        size: count
        if: flags == 0x02
    instances:
      flags:
        value: word % 4096
      is_last:
        value: flags == 0x01 or (is_keys and flags == 0x04)
  htab_part:
    seq:
      - id: section_hdr
        type: u4
      - id: chunks
        type: htab_chunk
        repeat: until
        repeat-until: _.index == 0 and _.n_valid == 0 and _.n_invalid == 0
        if: section_hdr == 0
      - id: end
        type: mark
  htab_chunk:
    seq:
      - id: index
        type: u4
      - id: n_valid
        type: u2
      - id: n_invalid
        type: u2
      - id: entries
        size: n_valid * 16
  dirty_bitmap_part:
    seq:
      - id: chunks
        type: dirty_bitmap_chunk
        repeat: until
        repeat-until: _.flags % 2 == 1
      - id: end
        type: mark
  dirty_bitmap_chunk:
    seq:
      - id: flags1
        type: u1
      - id: flags2
        type: u1
        if: flags1 >= 0x80
      - id: flags4
        type: u2
        if: 'flags1 >= 0x80 ? flags2 >= 0x80 : false'
      - id: node
        type: page_idstr
        if: flags / 0x08 % 2 == 1
      - id: bitmap
        type: page_idstr
        if: flags / 0x04 % 2 == 1
      - id: start
        type: dirty_bitmap_start
        if: is_start
      - id: bits
        type: dirty_bitmap_bits(flags / 0x02 % 2 == 1)
        if: not is_start and flags / 0x40 % 2 == 1
    instances:
      flags:
        value: 'flags1 < 0x80 ? flags1 : flags2 < 0x80 ? flags2 : flags4 % 256'
      is_start:
        value: flags / 0x10 % 2 == 1
  dirty_bitmap_start:
    seq:
      - id: granularity
        type: u4
      - id: flags
        type: u1
  dirty_bitmap_bits:
    params:
      - id: zeroes
        type: bool
    seq:
      - id: start_sector
        type: u8
      - id: nr_sectors
        type: u4
      - id: buf_size
        type: u8
        if: not zeroes
      - id: data
        size: buf_size
        if: not zeroes
enums:
  save_format:
    0: raw
    1: gzip
    2: bzip2
    3: xz
    4: lzop
    5: zstd
    6: sparse
  section_type:
    0x00: eof
    0x01: section_start
    0x02: section_part
    0x03: section_end
    0x04: section_full
    0x05: subsection
    0x06: vmdescription
    0x07: configuration
    0x08: command
    0x7e: section_footer
  mig_cmd:
    0: invalid
    1: open_return_path
    2: ping
    3: postcopy_advise
    4: postcopy_listen
    5: postcopy_run
    6: postcopy_ram_discard
    7: packaged
    8: enable_colo
    9: postcopy_resume
    10: recv_bitmap
    11: switchover_start
