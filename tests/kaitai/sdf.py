# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO
from enum import IntEnum


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Sdf(KaitaiStruct):
    """A file that holds what a model cannot guess of a picture or a sound: which model, which noise levels, how many bits
    each step got, and the bits.
    
    .. seealso::
       sdf-1.md
    """

    class CoderId(IntEnum):
        trellis = 0
        pfr = 1
        tree = 2

    class Contexts(IntEnum):
        neighbours = 0
        alone = 1
        even = 2

    class DenoiserId(IntEnum):
        mean = 0
        flow = 1
        ancestral = 2
        balanced = 3

    class Form(IntEnum):
        law = 0
        registered = 1
        inline = 2

    class Method(IntEnum):
        stored = 0
        zstandard = 1

    class Mode(IntEnum):
        l = 0
        rgb = 1
        la = 2
        rgba = 3
        mono = 4
        stereo = 5
    def __init__(self, _io, _parent=None, _root=None):
        super(Sdf, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.signature = self._io.read_bytes(8)
        if not self.signature == b"\x89\x53\x44\x46\x0D\x0A\x1A\x0A":
            raise kaitaistruct.ValidationNotEqualError(b"\x89\x53\x44\x46\x0D\x0A\x1A\x0A", self.signature, self._io, u"/seq/0")
        self.major = self._io.read_u1()
        if not self.major == 1:
            raise kaitaistruct.ValidationNotEqualError(1, self.major, self._io, u"/seq/1")
        self.minor = self._io.read_u1()
        self.chunks = []
        i = 0
        while True:
            _ = Sdf.Chunk(i, self._io, self, self._root)
            self.chunks.append(_)
            if _.type == 68:
                break
            i += 1
        self.nothing_follows = self._io.read_bytes(0)
        _ = self.nothing_follows
        if not self._io.is_eof():
            raise kaitaistruct.ValidationExprError(self.nothing_follows, self._io, u"/seq/4")


    def _fetch_instances(self):
        pass
        for i in range(len(self.chunks)):
            pass
            self.chunks[i]._fetch_instances()


    class Alpha(KaitaiStruct):
        """
        .. seealso::
           §3.5
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Alpha, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.filter = self._io.read_u1()
            if not self.filter <= 3:
                raise kaitaistruct.ValidationGreaterThanError(3, self.filter, self._io, u"/types/alpha/seq/0")
            self.data = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass


    class Blob(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Blob, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.length = Sdf.Varint(self._io, self, self._root)
            self.data = self._io.read_bytes(self.length.value)


        def _fetch_instances(self):
            pass
            self.length._fetch_instances()


    class Chunk(KaitaiStruct):
        """
        .. seealso::
           §3.2
        """
        def __init__(self, index, _io, _parent=None, _root=None):
            super(Sdf.Chunk, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.index = index
            self._read()

        def _read(self):
            self.type = self._io.read_u1()
            _ = self.type
            if not (_ == 72 if self.index == 0 else  ((self.index < 128) and ( (( ((_ >= 97) and (_ <= 122)) ) or (_ == 65) or (_ == 68)) )) ):
                raise kaitaistruct.ValidationExprError(self.type, self._io, u"/types/chunk/seq/0")
            self.length = Sdf.Varint(self._io, self, self._root)
            self.check_length = self._io.read_bytes(0)
            _ = self.check_length
            if not self.length.value <= (4096 if self.type == 72 else 2147483647):
                raise kaitaistruct.ValidationExprError(self.check_length, self._io, u"/types/chunk/seq/2")
            _on = self.type
            if _on == 101:
                pass
                self._raw_body = self._io.read_bytes(self.length.value)
                _io__raw_body = KaitaiStream(BytesIO(self._raw_body))
                self.body = Sdf.Compressible(_io__raw_body, self, self._root)
            elif _on == 105:
                pass
                self._raw_body = self._io.read_bytes(self.length.value)
                _io__raw_body = KaitaiStream(BytesIO(self._raw_body))
                self.body = Sdf.Compressible(_io__raw_body, self, self._root)
            elif _on == 116:
                pass
                self._raw_body = self._io.read_bytes(self.length.value)
                _io__raw_body = KaitaiStream(BytesIO(self._raw_body))
                self.body = Sdf.Compressible(_io__raw_body, self, self._root)
            elif _on == 120:
                pass
                self._raw_body = self._io.read_bytes(self.length.value)
                _io__raw_body = KaitaiStream(BytesIO(self._raw_body))
                self.body = Sdf.Compressible(_io__raw_body, self, self._root)
            elif _on == 65:
                pass
                self._raw_body = self._io.read_bytes(self.length.value)
                _io__raw_body = KaitaiStream(BytesIO(self._raw_body))
                self.body = Sdf.Alpha(_io__raw_body, self, self._root)
            elif _on == 72:
                pass
                self._raw_body = self._io.read_bytes(self.length.value)
                _io__raw_body = KaitaiStream(BytesIO(self._raw_body))
                self.body = Sdf.Header(_io__raw_body, self, self._root)
            else:
                pass
                self.body = self._io.read_bytes(self.length.value)
            self.crc = self._io.read_u4be()


        def _fetch_instances(self):
            pass
            self.length._fetch_instances()
            _on = self.type
            if _on == 101:
                pass
                self.body._fetch_instances()
            elif _on == 105:
                pass
                self.body._fetch_instances()
            elif _on == 116:
                pass
                self.body._fetch_instances()
            elif _on == 120:
                pass
                self.body._fetch_instances()
            elif _on == 65:
                pass
                self.body._fetch_instances()
            elif _on == 72:
                pass
                self.body._fetch_instances()
            else:
                pass


    class Cleanup(KaitaiStruct):
        """
        .. seealso::
           §5.5
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Cleanup, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.denoiser = Sdf.Denoiser(self._io, self, self._root)
            self.check_denoiser = self._io.read_bytes(0)
            _ = self.check_denoiser
            if not self.denoiser.id != Sdf.DenoiserId.ancestral:
                raise kaitaistruct.ValidationExprError(self.check_denoiser, self._io, u"/types/cleanup/seq/1")
            self.level = self._io.read_s1()
            self.gain = self._io.read_u1()
            if not self.gain >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.gain, self._io, u"/types/cleanup/seq/3")


        def _fetch_instances(self):
            pass
            self.denoiser._fetch_instances()


    class Coder(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Coder, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.id = KaitaiStream.resolve_enum(Sdf.CoderId, self._io.read_bits_int_be(4))
            if not isinstance(self.id, Sdf.CoderId):
                raise kaitaistruct.ValidationNotInEnumError(self.id, self._io, u"/types/coder/seq/0")
            self.parameter = self._io.read_bits_int_be(4)
            if not self.parameter <= 10:
                raise kaitaistruct.ValidationGreaterThanError(10, self.parameter, self._io, u"/types/coder/seq/1")


        def _fetch_instances(self):
            pass


    class Compressible(KaitaiStruct):
        """
        .. seealso::
           §3.4
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Compressible, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.method = KaitaiStream.resolve_enum(Sdf.Method, self._io.read_u1())
            if not isinstance(self.method, Sdf.Method):
                raise kaitaistruct.ValidationNotInEnumError(self.method, self._io, u"/types/compressible/seq/0")
            self.data = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass


    class Conditioning(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Conditioning, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.coding = self._io.read_u1()
            self.denoising = self._io.read_u1()
            self.prompt_length = Sdf.Varint(self._io, self, self._root)
            self._raw_prompt = self._io.read_bytes(self.prompt_length.value)
            _io__raw_prompt = KaitaiStream(BytesIO(self._raw_prompt))
            self.prompt = Sdf.Compressible(_io__raw_prompt, self, self._root)


        def _fetch_instances(self):
            pass
            self.prompt_length._fetch_instances()
            self.prompt._fetch_instances()


    class Denoiser(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Denoiser, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.id = KaitaiStream.resolve_enum(Sdf.DenoiserId, self._io.read_bits_int_be(3))
            if not isinstance(self.id, Sdf.DenoiserId):
                raise kaitaistruct.ValidationNotInEnumError(self.id, self._io, u"/types/denoiser/seq/0")
            self.steps = self._io.read_bits_int_be(5)
            _ = self.steps
            if not  ((_ >= 1) and ( ((self.id != Sdf.DenoiserId.mean) or (_ == 1)) )) :
                raise kaitaistruct.ValidationExprError(self.steps, self._io, u"/types/denoiser/seq/1")


        def _fetch_instances(self):
            pass


    class Diffc(KaitaiStruct):
        """
        .. seealso::
           §5.2
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Diffc, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.reserved = self._io.read_bits_int_be(1) != 0
            if not self.reserved == False:
                raise kaitaistruct.ValidationNotEqualError(False, self.reserved, self._io, u"/types/diffc/seq/0")
            self.has_conditioning = self._io.read_bits_int_be(1) != 0
            self.has_extension = self._io.read_bits_int_be(1) != 0
            self.has_denoiser = self._io.read_bits_int_be(1) != 0
            self.has_coder = self._io.read_bits_int_be(1) != 0
            self.has_seed = self._io.read_bits_int_be(1) != 0
            self.form = KaitaiStream.resolve_enum(Sdf.Form, self._io.read_bits_int_be(2))
            if not isinstance(self.form, Sdf.Form):
                raise kaitaistruct.ValidationNotInEnumError(self.form, self._io, u"/types/diffc/seq/6")
            if self.has_seed:
                pass
                self.seed = Sdf.Varint(self._io, self, self._root)

            if self.has_coder:
                pass
                self.coder = Sdf.Coder(self._io, self, self._root)

            _on = self.form
            if _on == Sdf.Form.inline:
                pass
                self.schedule = Sdf.Inline(self._io, self, self._root)
            elif _on == Sdf.Form.law:
                pass
                self.schedule = Sdf.Law(self._io, self, self._root)
            elif _on == Sdf.Form.registered:
                pass
                self.schedule = Sdf.Registered(self._io, self, self._root)
            if self.has_denoiser:
                pass
                self.denoiser = Sdf.Denoiser(self._io, self, self._root)

            if self.has_conditioning:
                pass
                self.conditioning = Sdf.Conditioning(self._io, self, self._root)

            if self.has_extension:
                pass
                self.extension = Sdf.Blob(self._io, self, self._root)

            self.check_end = self._io.read_bytes(0)
            _ = self.check_end
            if not self._io.is_eof():
                raise kaitaistruct.ValidationExprError(self.check_end, self._io, u"/types/diffc/seq/13")


        def _fetch_instances(self):
            pass
            if self.has_seed:
                pass
                self.seed._fetch_instances()

            if self.has_coder:
                pass
                self.coder._fetch_instances()

            _on = self.form
            if _on == Sdf.Form.inline:
                pass
                self.schedule._fetch_instances()
            elif _on == Sdf.Form.law:
                pass
                self.schedule._fetch_instances()
            elif _on == Sdf.Form.registered:
                pass
                self.schedule._fetch_instances()
            if self.has_denoiser:
                pass
                self.denoiser._fetch_instances()

            if self.has_conditioning:
                pass
                self.conditioning._fetch_instances()

            if self.has_extension:
                pass
                self.extension._fetch_instances()



    class Header(KaitaiStruct):
        """
        .. seealso::
           §3.3
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.width = Sdf.Varint(self._io, self, self._root)
            self.height = Sdf.Varint(self._io, self, self._root)
            self.kind = self._io.read_bits_int_be(4)
            self.mode = KaitaiStream.resolve_enum(Sdf.Mode, self._io.read_bits_int_be(4))
            if not isinstance(self.mode, Sdf.Mode):
                raise kaitaistruct.ValidationNotInEnumError(self.mode, self._io, u"/types/header/seq/3")
            self.check_sides = self._io.read_bytes(0)
            _ = self.check_sides
            if not  ((self.width.value >= 1) and (( ((self.height.value < 12) or ( ((self.height.value >= 1000) and (self.height.value <= 1000000) and (self.height.value != 44100) and (self.height.value != 48000) and (self.height.value != 32000) and (self.height.value != 24000) and (self.height.value != 22050) and (self.height.value != 16000) and (self.height.value != 12000) and (self.height.value != 11025) and (self.height.value != 8000) and (self.height.value != 88200) and (self.height.value != 96000) and (self.height.value != 192000)) ))  if self.is_sound else  ((self.width.value <= 65535) and (self.height.value >= 1) and (self.height.value <= 65535)) ))) :
                raise kaitaistruct.ValidationExprError(self.check_sides, self._io, u"/types/header/seq/4")
            self.model = Sdf.Varint(self._io, self, self._root)
            self.weights = self._io.read_bytes((32 if self.model.value == 0 else 4))
            if self.model.value == 0:
                pass
                self.channels = Sdf.Varint(self._io, self, self._root)

            if self.model.value == 0:
                pass
                self.cell = Sdf.Varint(self._io, self, self._root)

            if self.model.value == 0:
                pass
                self.check_latent = self._io.read_bytes(0)
                _ = self.check_latent
                if not  ((self.channels.value >= 1) and (self.channels.value <= 65535) and (self.cell.value >= 1) and (self.cell.value <= (65535 if self.is_sound else 64))) :
                    raise kaitaistruct.ValidationExprError(self.check_latent, self._io, u"/types/header/seq/9")

            _on = self.kind
            if _on == 0:
                pass
                self._raw_parameters = self._io.read_bytes_full()
                _io__raw_parameters = KaitaiStream(BytesIO(self._raw_parameters))
                self.parameters = Sdf.Diffc(_io__raw_parameters, self, self._root)
            elif _on == 1:
                pass
                self._raw_parameters = self._io.read_bytes_full()
                _io__raw_parameters = KaitaiStream(BytesIO(self._raw_parameters))
                self.parameters = Sdf.Palette(_io__raw_parameters, self, self._root)
            elif _on == 2:
                pass
                self._raw_parameters = self._io.read_bytes_full()
                _io__raw_parameters = KaitaiStream(BytesIO(self._raw_parameters))
                self.parameters = Sdf.Lowbit(_io__raw_parameters, self, self._root)
            else:
                pass
                self.parameters = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass
            self.width._fetch_instances()
            self.height._fetch_instances()
            self.model._fetch_instances()
            if self.model.value == 0:
                pass
                self.channels._fetch_instances()

            if self.model.value == 0:
                pass
                self.cell._fetch_instances()

            if self.model.value == 0:
                pass

            _on = self.kind
            if _on == 0:
                pass
                self.parameters._fetch_instances()
            elif _on == 1:
                pass
                self.parameters._fetch_instances()
            elif _on == 2:
                pass
                self.parameters._fetch_instances()
            else:
                pass

        @property
        def is_sound(self):
            if hasattr(self, '_m_is_sound'):
                return self._m_is_sound

            self._m_is_sound =  ((self.mode == Sdf.Mode.mono) or (self.mode == Sdf.Mode.stereo)) 
            return getattr(self, '_m_is_sound', None)


    class Inline(KaitaiStruct):
        """
        .. seealso::
           §4.2.3
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Inline, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.steps = self._io.read_u1()
            self.first = Sdf.Varint(self._io, self, self._root)
            self.rises = []
            for i in range((self.steps - 1 if self.steps > 0 else 0)):
                self.rises.append(Sdf.Varint(self._io, self, self._root))

            self.bits = []
            for i in range(self.steps):
                self.bits.append(Sdf.Varint(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            self.first._fetch_instances()
            for i in range(len(self.rises)):
                pass
                self.rises[i]._fetch_instances()

            for i in range(len(self.bits)):
                pass
                self.bits[i]._fetch_instances()



    class Law(KaitaiStruct):
        """
        .. seealso::
           §4.2.1
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Law, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.steps = self._io.read_bits_int_be(8)
            if not self.steps >= 1:
                raise kaitaistruct.ValidationLessThanError(1, self.steps, self._io, u"/types/law/seq/0")
            self.end_raw = self._io.read_bits_int_be(10)
            self.slope = self._io.read_bits_int_be(7)
            self.bend_raw = self._io.read_bits_int_be(7)


        def _fetch_instances(self):
            pass

        @property
        def bend(self):
            """unit 1/32."""
            if hasattr(self, '_m_bend'):
                return self._m_bend

            self._m_bend = (self.bend_raw if self.bend_raw < 64 else self.bend_raw - 128)
            return getattr(self, '_m_bend', None)

        @property
        def end(self):
            """unit 1/32 nat."""
            if hasattr(self, '_m_end'):
                return self._m_end

            self._m_end = (self.end_raw if self.end_raw < 512 else self.end_raw - 1024)
            return getattr(self, '_m_end', None)


    class Lowbit(KaitaiStruct):
        """
        .. seealso::
           §5.4
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Lowbit, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.reserved = self._io.read_bits_int_be(4)
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/lowbit/seq/0")
            self.contexts = KaitaiStream.resolve_enum(Sdf.Contexts, self._io.read_bits_int_be(2))
            if not isinstance(self.contexts, Sdf.Contexts):
                raise kaitaistruct.ValidationNotInEnumError(self.contexts, self._io, u"/types/lowbit/seq/1")
            self.has_extension = self._io.read_bits_int_be(1) != 0
            self.has_cleanup = self._io.read_bits_int_be(1) != 0
            self.levels = Sdf.Varint(self._io, self, self._root)
            self.check_levels = self._io.read_bytes(0)
            _ = self.check_levels
            if not  ((self.levels.value >= 2) and (self.levels.value <= 256)) :
                raise kaitaistruct.ValidationExprError(self.check_levels, self._io, u"/types/lowbit/seq/5")
            if self.has_cleanup:
                pass
                self.cleanup = Sdf.Cleanup(self._io, self, self._root)

            if self.has_extension:
                pass
                self.extension = Sdf.Blob(self._io, self, self._root)

            self.check_end = self._io.read_bytes(0)
            _ = self.check_end
            if not self._io.is_eof():
                raise kaitaistruct.ValidationExprError(self.check_end, self._io, u"/types/lowbit/seq/8")


        def _fetch_instances(self):
            pass
            self.levels._fetch_instances()
            if self.has_cleanup:
                pass
                self.cleanup._fetch_instances()

            if self.has_extension:
                pass
                self.extension._fetch_instances()



    class Palette(KaitaiStruct):
        """
        .. seealso::
           §5.3
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Palette, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.reserved = self._io.read_bits_int_be(5)
            if not self.reserved == 0:
                raise kaitaistruct.ValidationNotEqualError(0, self.reserved, self._io, u"/types/palette/seq/0")
            self.has_extension = self._io.read_bits_int_be(1) != 0
            self.has_dithering = self._io.read_bits_int_be(1) != 0
            self.has_cleanup = self._io.read_bits_int_be(1) != 0
            self.colours = Sdf.Varint(self._io, self, self._root)
            self.groups = Sdf.Varint(self._io, self, self._root)
            self.check_numbers = self._io.read_bytes(0)
            _ = self.check_numbers
            if not  ((self.colours.value >= 1) and (self.colours.value <= 4096) and (self.groups.value >= 1) and ( ((self._parent.model.value != 0) or (self.groups.value <= self._parent.channels.value)) )) :
                raise kaitaistruct.ValidationExprError(self.check_numbers, self._io, u"/types/palette/seq/6")
            self.step = self._io.read_s1()
            if self.has_dithering:
                pass
                self.dithering = self._io.read_u1()
                if not self.dithering >= 1:
                    raise kaitaistruct.ValidationLessThanError(1, self.dithering, self._io, u"/types/palette/seq/8")
                if not self.dithering <= 64:
                    raise kaitaistruct.ValidationGreaterThanError(64, self.dithering, self._io, u"/types/palette/seq/8")

            if self.has_cleanup:
                pass
                self.cleanup = Sdf.Cleanup(self._io, self, self._root)

            if self.has_extension:
                pass
                self.extension = Sdf.Blob(self._io, self, self._root)

            self.check_end = self._io.read_bytes(0)
            _ = self.check_end
            if not self._io.is_eof():
                raise kaitaistruct.ValidationExprError(self.check_end, self._io, u"/types/palette/seq/11")


        def _fetch_instances(self):
            pass
            self.colours._fetch_instances()
            self.groups._fetch_instances()
            if self.has_dithering:
                pass

            if self.has_cleanup:
                pass
                self.cleanup._fetch_instances()

            if self.has_extension:
                pass
                self.extension._fetch_instances()



    class Registered(KaitaiStruct):
        """
        .. seealso::
           §4.2.2
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Registered, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.table = Sdf.Varint(self._io, self, self._root)
            self.gain = Sdf.Varint(self._io, self, self._root)


        def _fetch_instances(self):
            pass
            self.table._fetch_instances()
            self.gain._fetch_instances()


    class Varint(KaitaiStruct):
        """Unsigned LEB128 below 2^32, no longer than needed.
        
        .. seealso::
           §2
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Sdf.Varint, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.b0 = self._io.read_u1()
            if self.b0 >= 128:
                pass
                self.b1 = self._io.read_u1()
                _ = self.b1
                if not _ != 0:
                    raise kaitaistruct.ValidationExprError(self.b1, self._io, u"/types/varint/seq/1")

            if  ((self.b0 >= 128) and (self.b1 >= 128)) :
                pass
                self.b2 = self._io.read_u1()
                _ = self.b2
                if not _ != 0:
                    raise kaitaistruct.ValidationExprError(self.b2, self._io, u"/types/varint/seq/2")

            if  ((self.b0 >= 128) and (self.b1 >= 128) and (self.b2 >= 128)) :
                pass
                self.b3 = self._io.read_u1()
                _ = self.b3
                if not _ != 0:
                    raise kaitaistruct.ValidationExprError(self.b3, self._io, u"/types/varint/seq/3")

            if  ((self.b0 >= 128) and (self.b1 >= 128) and (self.b2 >= 128) and (self.b3 >= 128)) :
                pass
                self.b4 = self._io.read_u1()
                _ = self.b4
                if not  ((_ != 0) and (_ < 16)) :
                    raise kaitaistruct.ValidationExprError(self.b4, self._io, u"/types/varint/seq/4")



        def _fetch_instances(self):
            pass
            if self.b0 >= 128:
                pass

            if  ((self.b0 >= 128) and (self.b1 >= 128)) :
                pass

            if  ((self.b0 >= 128) and (self.b1 >= 128) and (self.b2 >= 128)) :
                pass

            if  ((self.b0 >= 128) and (self.b1 >= 128) and (self.b2 >= 128) and (self.b3 >= 128)) :
                pass


        @property
        def value(self):
            if hasattr(self, '_m_value'):
                return self._m_value

            self._m_value = (self.b0 if self.b0 < 128 else self.b0 % 128 + (self.b1 * 128 if self.b1 < 128 else (self.b1 % 128) * 128 + (self.b2 * 16384 if self.b2 < 128 else (self.b2 % 128) * 16384 + (self.b3 * 2097152 if self.b3 < 128 else (self.b3 % 128) * 2097152 + self.b4 * 268435456))))
            return getattr(self, '_m_value', None)

        @property
        def zigzag(self):
            """
            .. seealso::
               §2
            """
            if hasattr(self, '_m_zigzag'):
                return self._m_zigzag

            self._m_zigzag = (self.value // 2 if self.value % 2 == 0 else -1 - self.value // 2)
            return getattr(self, '_m_zigzag', None)



