"""The program around SDF: its global state, its processes, what of Pillow and of the system it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pictures import opened, picture, saved
from PIL import Image, ImageCms

import pillow_plugin
from sdf_format.errors import BadInput, MissingModel

ROOT = Path(pillow_plugin.__file__).parent.parent
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def data() -> bytes:
    return saved(picture(32, 32), quality=5)


def run(code: str, *arguments: object, timeout: int = 300, **environment: str | None) -> str:
    """What a fresh interpreter says after `code`.  environment: changes; None takes a variable out"""
    variables = {k: v for k, v in (ENVIRONMENT | environment).items() if v is not None}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=variables,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


# --- global state

STATES = """
    import contextlib, decimal, io, locale, os, random, signal, sys, threading, warnings
    import numpy as np
    import torch
    import pillow_plugin
    from PIL import Image, ImageFile

    data = open(sys.argv[1], "rb").read()
    picture = Image.radial_gradient("L").resize((32, 32))

    def use():
        buffer = io.BytesIO()
        picture.save(buffer, "SDF", quality=20)
        small = Image.open(io.BytesIO(data))
        small.thumbnail((4, 4))
        return Image.open(io.BytesIO(data)).tobytes(), buffer.getvalue(), small.tobytes()

    def state():
        return {
            "torch's generator": torch.get_rng_state().tolist(),
            "NumPy's generator": repr(np.random.get_state()),
            "random": random.getstate(),
            "default dtype": torch.get_default_dtype(),
            "default device": torch.get_default_device(),
            "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
            "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
            "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
            "autocast's cache": torch.is_autocast_cache_enabled(),
            "determinism": torch.are_deterministic_algorithms_enabled(),
            "precision": torch.get_float32_matmul_precision(),
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "warnings": list(warnings.filters),
            "NumPy's errors": np.geterr(),
            "locale": locale.setlocale(locale.LC_ALL),
            "signals": [signal.getsignal(s) for s in signal.valid_signals()],
            "path": list(sys.path),
            "decimal": repr(decimal.getcontext()),
            "interpreter": (sys.getswitchinterval(), sys.getrecursionlimit()),
            "hooks": (sys.excepthook, threading.excepthook, sys.gettrace(), sys.getprofile()),
            "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK),
        }

    def enter(manager):
        manager.__enter__()
        kept.append(manager)

    kept = []
    HOSTS = {
        "nothing": lambda: None,
        "float64": lambda: torch.set_default_dtype(torch.float64),
        "float16": lambda: torch.set_default_dtype(torch.float16),
        "bfloat16": lambda: torch.set_default_dtype(torch.bfloat16),
        "meta": lambda: torch.set_default_device("meta"),
        "meta by a block": lambda: enter(torch.device("meta")),
        "autocast": lambda: enter(torch.autocast("cpu", torch.bfloat16)),
        "inference mode": lambda: enter(torch.inference_mode()),
        "no gradients": lambda: torch.set_grad_enabled(False),
        "deterministic": lambda: torch.use_deterministic_algorithms(True),
        "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
        "generators": lambda: (torch.manual_seed(7), np.random.seed(7), random.seed(7)),
        "NumPy raises": lambda: np.seterr(all="raise"),
        "warnings are errors": lambda: warnings.simplefilter("error"),
        "decimal": lambda: decimal.getcontext().__setattr__("prec", 2),
    }
    only = sys.argv[2:] or HOSTS

    def child(name, warm):
        if warm:
            use()
        HOSTS[name]()
        before = state()
        result = use()
        after = state()
        changed = [key for key in before if before[key] != after[key]]
        if changed:
            print(f"{name}, {'after' if warm else 'before'} the first picture: changed {changed}")
        return result

    reader, writer = os.pipe()
    results = {}
    for name in only:
        for warm in (False, True):
            reader, writer = os.pipe()
            if not (pid := os.fork()):
                try:
                    os.close(reader)
                    result = child(name, warm)
                    with os.fdopen(writer, "wb") as stream:
                        stream.write(b"".join(result))
                    sys.stdout.flush()
                except BaseException as error:
                    when = "after" if warm else "before"
                    print(f"{name}, {when} the first picture: {type(error).__name__}: {error}", flush=True)
                finally:
                    os._exit(0)
            os.close(writer)
            with os.fdopen(reader, "rb") as stream:
                results[name, warm] = stream.read()
            os.waitpid(pid, 0)
    for key, result in results.items():
        if result != results["nothing", False]:
            print(f"{key}: {'other bytes' if result else 'nothing'}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="every state in a process of its own")
def test_what_the_host_set_is_neither_read_nor_changed(data, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    assert run(STATES, tmp_path / "x.sdf") == ""


# --- media type


def test_the_media_type_is_known_after_import_and_forgotten_after_unregistering():
    code = """
        import mimetypes
        mimetypes.add_type("chemical/x-mdl-sdfile", ".sdf")         # as /etc/mime.types has it on Debian
        import pillow_plugin
        ours = mimetypes.guess_extension("image/vnd.sdf-format.sdf")
        print(mimetypes.guess_type("a/x.sdf"), mimetypes.guess_type("X.SDF")[0], ours)
        pillow_plugin.unregister_sdf_opener()
        print(mimetypes.guess_type("x.sdf")[0])
        pillow_plugin.register_sdf_opener()
        pillow_plugin.register_sdf_opener()
        print(mimetypes.guess_type("x.sdf")[0])
        pillow_plugin.unregister_sdf_opener()
        print(mimetypes.guess_type("x.sdf")[0])
    """
    ours = "image/vnd.sdf-format.sdf"
    assert run(code).splitlines() == [
        f"('{ours}', None) {ours} .sdf",
        "chemical/x-mdl-sdfile",
        ours,
        "chemical/x-mdl-sdfile",
    ]


# --- parts of Pillow that may be missing

LACKING = """
    import io, sys, warnings
    for name in sys.argv[1:]:
        sys.modules[name] = None
    from PIL import Image, ImageFile
    if not sys.argv[1:]:
        del Image.core.jpeg_decoder, Image.core.jpeg_encoder
    import pillow_plugin

    def saved(image, **options):
        buffer = io.BytesIO()
        image.save(buffer, "SDF", quality=1, **options)
        return buffer.getvalue()

    opened = lambda data: Image.open(io.BytesIO(data))
    picture = Image.radial_gradient("L").resize((48, 32)).convert("RGB")
    profile = open("profile.icc", "rb").read()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.info["icc_profile"] = profile
    data = saved(picture, exif=exif, preview=24, xmp=b"<x/>")
    image = opened(data)
    assert image.info["icc_profile"] == profile and image.getexif()[0x0112] == 6, image.info
    assert opened(data).preview.size == (24, 16)
    small = opened(data)
    small.thumbnail((12, 12))
    assert small.size == (12, 8) and image.tobytes()
    opened(data).verify()
    clear = picture.copy()
    clear.putalpha(100)
    try:
        assert opened(saved(clear, preview=24)).preview.mode == "RGBA"
    except OSError as error:
        assert "PIL._webp" in sys.argv and "WebP" in str(error), error
    both = []
    for kind in ("webp", "jpeg"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = opened(open(f"preview-{kind}.sdf", "rb").read())
            both.append(image.preview is not None)
            image.thumbnail((8, 8))             # from the payload where the preview cannot be read
            assert max(image.size) == 8
    print(both)
"""


@pytest.mark.parametrize(
    ("lacking", "readable"),
    [
        ("PIL._imagingcms", [True, True]),
        ("PIL._webp", [False, True]),
        ("", [True, False]),
        ("PIL._avif", [True, True]),
        ("PIL._imagingft", [True, True]),
        ("defusedxml", [True, True]),
    ],
)
def test_pillow_without_an_optional_part(lacking, readable, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Path("profile.icc").write_bytes(profile.replace("sRGB".encode("utf-16-be"), "Mine".encode("utf-16-be")))
    for kind in ("webp", "jpeg"):
        Path(f"preview-{kind}.sdf").write_bytes(
            (ROOT / "spec" / "conformance" / "files" / f"preview-{kind}.sdf").read_bytes()
        )
    assert run(LACKING, *filter(None, [lacking])) == str(readable)


# --- processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_an_image_is_loading_loads_it(data, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    code = """
        import os, signal, sys, threading
        import pillow_plugin
        from PIL import Image

        begun, go = threading.Event(), threading.Event()

        def progress(done, total):
            if os.getpid() == parent and done == 1:
                begun.set()
                go.wait()

        parent = os.getpid()
        expected = Image.open(sys.argv[1]).tobytes()
        pillow_plugin.register_sdf_opener(progress=progress)
        image, same = Image.open(sys.argv[1]), []
        thread = threading.Thread(target=lambda: same.append(image.tobytes() == expected))
        thread.start()
        begun.wait()
        children = []
        for _ in range(3):
            if not (child := os.fork()):
                signal.alarm(60)
                os._exit(0 if image.info and image.tobytes() == expected else 1)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        go.set()
        thread.join()
        print(codes, same)
    """
    assert run(code, tmp_path / "x.sdf") == "[0, 0, 0] [True]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_of_a_fork_read_files_of_their_own(data, tmp_path):
    """An open file's place is one for parent and children: whoever reads moves it for all."""
    (tmp_path / "x.sdf").write_bytes(data)
    code = """
        import os, sys
        import pillow_plugin
        from PIL import Image
        image = Image.open(sys.argv[1])
        os.lseek(image.fp.fileno(), 7, os.SEEK_SET)
        if not (child := os.fork()):
            image.load()
            os._exit(0)
        os.waitpid(child, 0)
        print(os.lseek(image.fp.fileno(), 0, os.SEEK_CUR))
    """
    assert run(code, tmp_path / "x.sdf") == "7"


# --- the system around


@pytest.mark.parametrize(
    "device", ["meta", "hpu", "privateuseone", "cuda:99", "abacus", "cpu:abacus", "xla", "vulkan", "mps:7"]
)
def test_devices_that_cannot_compute_are_bad_input(data, device, monkeypatch):
    with pytest.raises(BadInput, match="device"):
        saved(picture(16, 16), device=device)
    monkeypatch.setenv("SDF_DEVICE", device)
    with pytest.raises(BadInput, match="device"):
        opened(data).load()


def test_an_empty_device_variable_is_none(data, monkeypatch):
    expected = opened(data).tobytes()
    monkeypatch.setenv("SDF_DEVICE", "")
    assert opened(data).tobytes() == expected


def unregistered() -> Path:
    """A picture of weights that table 4.1 does not have."""
    manifest = json.loads((ROOT / "spec" / "conformance" / "manifest.json").read_text())
    return next(
        ROOT / "spec" / "conformance" / entry["file"]
        for entry in manifest["accepted"]
        if entry["header"]["model"] == "unregistered (0)" and "width" in entry["header"]
    )


def pipeline(folder: Path, **configurations: object) -> Path:
    """A folder as diffusers writes it, of weights that are none."""
    parts = {
        "model_index.json": {"_class_name": "StableDiffusionPipeline"},
        "unet/config.json": {"in_channels": 4},
        "vae/config.json": {"block_out_channels": [1, 1, 1, 1]},
        "scheduler/scheduler_config.json": {},
    } | configurations
    for name, content in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    for part in ("unet", "vae"):
        (folder / part / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    return folder


ODD = {
    "class-is-a-list": {"model_index.json": {"_class_name": ["pipeline.py", "Own"]}},
    "class-is-a-number": {"model_index.json": {"_class_name": 5}},
    "class-is-an-object": {"model_index.json": {"_class_name": {}}},
    "blocks-are-a-number": {"vae/config.json": {"block_out_channels": 5}},
    "blocks-are-null": {"unet/config.json": {"in_channels": 4, "block_out_channels": None}},
    "channels-are-text": {"vae/config.json": {"latent_channels": "four"}},
    "channels-are-enormous": {"vae/config.json": {"latent_channels": 10**400}},
    "sample-size-is-a-list": {"unet/config.json": {"in_channels": 4, "sample_size": [64, 64]}},
    "betas-are-text": {"scheduler/scheduler_config.json": {"beta_schedule": ["linear"]}},
    "deep": {"unet/config.json": "[" * 200_000},
    "deep-object": {"vae/config.json": '{"a":' * 200_000},
    "not-utf-8": {"model_index.json": "\udcff"},
}


def write_odd(base: Path) -> None:
    for name, configurations in ODD.items():
        configurations = {k: v for k, v in configurations.items() if v != "\udcff"}
        pipeline(base / name, **configurations)
    (base / "not-utf-8" / "model_index.json").write_bytes(b'{"_class_name": "\xff"}')
    for name in ("class-is-a-list", "class-is-a-number"):
        lone = base / f"alone-{name}"
        lone.mkdir()
        (lone / "config.json").write_text(json.dumps(ODD[name]["model_index.json"]))
    (base / "config-is-a-folder" / "config.json").mkdir(parents=True)
    (base / "loop").mkdir()
    (base / "loop" / "model_index.json").symlink_to("model_index.json")


def test_one_odd_folder_does_not_spoil_the_others(tmp_path, monkeypatch):
    write_odd(tmp_path)
    pipeline(tmp_path / "sound-one")
    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    with pytest.raises(MissingModel, match="sound-one"), Image.open(unregistered()) as image:
        image.load()  # says which weights are here


def test_a_model_named_by_a_relative_path_is_found_after_the_working_folder_changed(tmp_path, monkeypatch):
    pipeline(tmp_path / "of-long-ago")
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingModel):
        saved(picture(16, 16), model="of-long-ago")
    monkeypatch.chdir("/")
    with pytest.raises(MissingModel, match="of-long-ago"), Image.open(unregistered()) as image:
        image.load()  # says which weights are here


def test_a_folder_that_makes_no_sense_is_a_missing_model(tmp_path):
    write_odd(tmp_path)
    for folder in sorted(tmp_path.iterdir()):
        with pytest.raises((MissingModel, BadInput)):
            saved(picture(16, 16), model=str(folder))


HOMELESS = """
    import os, sys
    import pillow_plugin
    from PIL import Image
    os.setresuid(54321, 0, 0)       # who we are, which says where home is; files are read as before
    small = Image.new("L", (8, 8))
    for use in (lambda: Image.open(sys.argv[1]).load(), lambda: small.save("/dev/null", "SDF", model=sys.argv[2]),
                lambda: small.save("/dev/null", "SDF", model="sd15")):
        try:
            use()
        except OSError as error:
            print(type(error).__name__)
        except Exception as error:
            print("not ours:", type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="another user id than one's own")
def test_without_a_home(tmp_path):
    folder = pipeline(tmp_path / "models" / "some")
    variables = dict(
        HOME=None,
        XDG_CACHE_HOME=None,
        SDF_CACHE=None,
        HF_HOME=None,
        HF_HUB_CACHE=None,
        SDF_MODEL_DIR=str(tmp_path / "models"),
    )
    assert run(HOMELESS, unregistered(), folder, **variables).splitlines() == ["MissingModel"] * 3


HALF = """
    import io, sys
    import pillow_plugin
    from PIL import Image
    from sdf_format.errors import SdfError

    class Full:
        left = int(sys.argv[3])

        def find_spec(self, name, path=None, target=None):
            if name.startswith(sys.argv[2]) and Full.left:
                Full.left -= 1
                raise MemoryError if sys.argv[4] == "MemoryError" else ImportError("libtorch_cpu.so: no memory")

    sys.meta_path.insert(0, Full())
    for _ in range(3):
        try:
            Image.open(sys.argv[1]).load()
            print("loaded")
        except SdfError as error:
            print(type(error).__name__, "PyTorch" in str(error))
        try:
            Image.new("L", (8, 8)).save(io.BytesIO(), "SDF", quality=1)
            print("saved")
        except SdfError as error:
            print(type(error).__name__, "PyTorch" in str(error))
    image = Image.open(sys.argv[1])
    image.verify()
"""


@pytest.mark.parametrize("error", ["MemoryError", "ImportError"])
def test_an_import_of_torch_that_failed_is_a_clear_error_from_then_on(data, tmp_path, error):
    """A half of PyTorch stays behind, and importing it again gives whatever that half gives."""
    (tmp_path / "x.sdf").write_bytes(data)
    said = run(HALF, tmp_path / "x.sdf", "torch.nn.functional", 1, error).splitlines()
    assert said == ["Unsupported True"] * 6


def test_without_torch_pictures_open_and_decoding_says_what_is_missing(data, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    assert run(HALF, tmp_path / "x.sdf", "torch", -1, "ImportError").splitlines() == ["Unsupported True"] * 6
