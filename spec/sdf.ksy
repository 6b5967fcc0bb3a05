# SDF, version 1, for Kaitai Struct: the structures of sdf-1.md §3 to §5, with the rules that need nothing else.
# Not here, since Kaitai has no means for it: the CRCs, zstandard, chunks that occur twice, what the payload's bits mean.
meta:
  id: sdf
  title: SDF, stored diffusion image
  file-extension: sdf
  xref:
    mime: image/vnd.sdf-format.sdf
  license: Apache-2.0
  ks-version: 0.11
  endian: be
  bit-endian: be
doc: |
  A file that holds what a model cannot guess of a picture or a sound: which model, which noise levels, how many bits
  each step got, and the bits.
doc-ref: sdf-1.md
seq:
  - id: signature
    contents: [0x89, SDF, 0x0d, 0x0a, 0x1a, 0x0a]
    doc-ref: §3.1
  - id: major
    type: u1
    valid: 1
    doc-ref: §3.1
  - id: minor
    type: u1
    doc-ref: §3.1
  - id: chunks
    type: chunk(_index)
    repeat: until
    repeat-until: _.type == 0x44
    doc-ref: §3.2
  - id: nothing_follows
    size: 0
    valid:
      expr: _io.eof
    doc-ref: §3.2
types:
  varint:
    doc: Unsigned LEB128 below 2^32, no longer than needed.
    doc-ref: §2
    seq:
      - id: b0
        type: u1
      - id: b1
        type: u1
        if: b0 >= 128
        valid:
          expr: _ != 0
      - id: b2
        type: u1
        if: b0 >= 128 and b1 >= 128
        valid:
          expr: _ != 0
      - id: b3
        type: u1
        if: b0 >= 128 and b1 >= 128 and b2 >= 128
        valid:
          expr: _ != 0
      - id: b4
        type: u1
        if: b0 >= 128 and b1 >= 128 and b2 >= 128 and b3 >= 128
        valid:
          expr: _ != 0 and _ < 16
    instances:
      value:
        value: >-
          b0 < 128 ? b0 : b0 % 128 + (
          b1 < 128 ? b1 * 128 : b1 % 128 * 128 + (
          b2 < 128 ? b2 * 16384 : b2 % 128 * 16384 + (
          b3 < 128 ? b3 * 2097152 : b3 % 128 * 2097152 + b4 * 268435456)))
      zigzag:
        value: 'value % 2 == 0 ? value / 2 : -1 - value / 2'
        doc-ref: §2
  chunk:
    doc-ref: §3.2
    params:
      - id: index
        type: u4
    seq:
      - id: type
        type: u1
        valid:
          expr: 'index == 0 ? _ == 0x48 : index < 128 and (_ >= 0x61 and _ <= 0x7a or _ == 0x41 or _ == 0x44)'
        doc: H first, an unknown critical chunk never, and at most 128 in all.
      - id: length
        type: varint
      - id: check_length
        size: 0
        valid:
          expr: 'length.value <= (type == 0x48 ? 4096 : 0x7fffffff)'
      - id: body
        size: length.value
        type:
          switch-on: type
          cases:
            0x48: header
            0x41: alpha
            0x65: compressible
            0x69: compressible
            0x74: compressible
            0x78: compressible
      - id: crc
        type: u4
        doc: CRC-32 over type, length and body; for H over the two version bytes first.
  header:
    doc-ref: §3.3
    seq:
      - id: width
        type: varint
        doc: pixels; of sound, samples a channel
      - id: height
        type: varint
        doc: pixels; of sound, the rate as in table 3.3
      - id: kind
        type: b4
        doc-ref: table 5.1
      - id: mode
        type: b4
        enum: mode
        valid:
          in-enum: true
        doc-ref: table 3.2
      - id: check_sides
        size: 0
        valid:
          expr: >-
            width.value >= 1 and (is_sound ? height.value < 12 or height.value >= 1000 and height.value <= 1000000
            and height.value != 44100 and height.value != 48000 and height.value != 32000 and height.value != 24000
            and height.value != 22050 and height.value != 16000 and height.value != 12000 and height.value != 11025
            and height.value != 8000 and height.value != 88200 and height.value != 96000 and height.value != 192000
            : width.value <= 65535 and height.value >= 1 and height.value <= 65535)
      - id: model
        type: varint
        doc-ref: table 4.1
      - id: weights
        size: 'model.value == 0 ? 32 : 4'
        doc: of the SHA-256 of the weights
      - id: channels
        type: varint
        if: model.value == 0
      - id: cell
        type: varint
        if: model.value == 0
      - id: check_latent
        size: 0
        if: model.value == 0
        valid:
          expr: 'channels.value >= 1 and channels.value <= 65535 and cell.value >= 1 and cell.value <= (is_sound ? 65535 : 64)'
      - id: parameters
        size-eos: true
        type:
          switch-on: kind
          cases:
            0: diffc
            1: palette
            2: lowbit
    instances:
      is_sound:
        value: 'mode == mode::mono or mode == mode::stereo'
  alpha:
    doc-ref: §3.5
    seq:
      - id: filter
        type: u1
        valid:
          max: 3
        doc-ref: table 3.4
      - id: data
        size-eos: true
        doc: one zstandard frame
  compressible:
    doc-ref: §3.4
    seq:
      - id: method
        type: u1
        enum: method
        valid:
          in-enum: true
      - id: data
        size-eos: true
  diffc:
    doc-ref: §5.2
    seq:
      - id: reserved
        type: b1
        valid: false
      - id: has_conditioning
        type: b1
      - id: has_extension
        type: b1
      - id: has_denoiser
        type: b1
      - id: has_coder
        type: b1
      - id: has_seed
        type: b1
      - id: form
        type: b2
        enum: form
        valid:
          in-enum: true
      - id: seed
        type: varint
        if: has_seed
      - id: coder
        type: coder
        if: has_coder
      - id: schedule
        type:
          switch-on: form
          cases:
            'form::law': law
            'form::registered': registered
            'form::inline': inline
        doc-ref: §4.2
      - id: denoiser
        type: denoiser
        if: has_denoiser
      - id: conditioning
        type: conditioning
        if: has_conditioning
      - id: extension
        type: blob
        if: has_extension
      - id: check_end
        size: 0
        valid:
          expr: _io.eof
  palette:
    doc-ref: §5.3
    seq:
      - id: reserved
        type: b5
        valid: 0
      - id: has_extension
        type: b1
      - id: has_dithering
        type: b1
      - id: has_cleanup
        type: b1
      - id: colours
        type: varint
      - id: groups
        type: varint
      - id: check_numbers
        size: 0
        valid:
          expr: 'colours.value >= 1 and colours.value <= 4096 and groups.value >= 1 and (_parent.model.value != 0 or groups.value <= _parent.channels.value)'
      - id: step
        type: s1
        doc: unit 1/8 octave
      - id: dithering
        type: u1
        if: has_dithering
        valid:
          min: 1
          max: 64
        doc: unit 1/64
      - id: cleanup
        type: cleanup
        if: has_cleanup
      - id: extension
        type: blob
        if: has_extension
      - id: check_end
        size: 0
        valid:
          expr: _io.eof
  lowbit:
    doc-ref: §5.4
    seq:
      - id: reserved
        type: b4
        valid: 0
      - id: contexts
        type: b2
        enum: contexts
        valid:
          in-enum: true
        doc-ref: table 5.4
      - id: has_extension
        type: b1
      - id: has_cleanup
        type: b1
      - id: levels
        type: varint
      - id: check_levels
        size: 0
        valid:
          expr: 'levels.value >= 2 and levels.value <= 256'
      - id: cleanup
        type: cleanup
        if: has_cleanup
      - id: extension
        type: blob
        if: has_extension
      - id: check_end
        size: 0
        valid:
          expr: _io.eof
  cleanup:
    doc-ref: §5.5
    seq:
      - id: denoiser
        type: denoiser
      - id: check_denoiser
        size: 0
        valid:
          expr: denoiser.id != denoiser_id::ancestral
      - id: level
        type: s1
        doc: log-SNR, unit 1/8 nat
      - id: gain
        type: u1
        valid:
          min: 1
        doc: unit 1/64
  coder:
    seq:
      - id: id
        type: b4
        enum: coder_id
        valid:
          in-enum: true
        doc-ref: table 5.2
      - id: parameter
        type: b4
        valid:
          max: 10
        doc: L - 8 of trellis, K - 8 of pfr and tree
  denoiser:
    seq:
      - id: id
        type: b3
        enum: denoiser_id
        valid:
          in-enum: true
        doc-ref: table 5.3
      - id: steps
        type: b5
        valid:
          expr: '_ >= 1 and (id != denoiser_id::mean or _ == 1)'
  conditioning:
    seq:
      - id: coding
        type: u1
        doc: guidance of the walk, in eighths
      - id: denoising
        type: u1
        doc: guidance of the denoiser, in eighths
      - id: prompt_length
        type: varint
      - id: prompt
        size: prompt_length.value
        type: compressible
  blob:
    seq:
      - id: length
        type: varint
      - id: data
        size: length.value
  law:
    doc-ref: §4.2.1
    seq:
      - id: steps
        type: b8
        valid:
          min: 1
      - id: end_raw
        type: b10
      - id: slope
        type: b7
        doc: unit 1/16
      - id: bend_raw
        type: b7
    instances:
      end:
        value: 'end_raw < 512 ? end_raw : end_raw - 1024'
        doc: unit 1/32 nat
      bend:
        value: 'bend_raw < 64 ? bend_raw : bend_raw - 128'
        doc: unit 1/32
  registered:
    doc-ref: §4.2.2
    seq:
      - id: table
        type: varint
        doc-ref: table 4.3
      - id: gain
        type: varint
        doc: unit 1/64
  inline:
    doc-ref: §4.2.3
    seq:
      - id: steps
        type: u1
      - id: first
        type: varint
        doc: ZigZag, unit 1/64 nat
      - id: rises
        type: varint
        repeat: expr
        repeat-expr: 'steps > 0 ? steps - 1 : 0'
        doc: unit 1/64 nat
      - id: bits
        type: varint
        repeat: expr
        repeat-expr: steps
enums:
  mode:
    0: l
    1: rgb
    2: la
    3: rgba
    4: mono
    5: stereo
  method:
    0: stored
    1: zstandard
  form:
    0: law
    1: registered
    2: inline
  coder_id:
    0: trellis
    1: pfr
    2: tree
  contexts:
    0: neighbours
    1: alone
    2: even
  denoiser_id:
    0: mean
    1: flow
    2: ancestral
    3: balanced
