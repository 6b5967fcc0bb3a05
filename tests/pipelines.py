"""Tiny pipelines with random weights, of the very classes that the published models are of, saved as folders."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch

CHANNELS = 4


def autoencoder(channels: int = CHANNELS, levels: int = 2, **settings) -> diffusers.AutoencoderKL:
    """Cells of 2 pixels with two levels, of 8 with four."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * (levels - 1) + (16,),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=channels,
        sample_size=32,
        norm_num_groups=4,
        **settings,
    )


def unet(**settings) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        **dict(
            sample_size=16,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        )
        | settings
    )


def added(numbers: int) -> dict:
    """Micro-conditioning as SDXL's: so many numbers of 8 dimensions each, and a pooled text of 32."""
    return dict(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * numbers + 32,
    )


def patched(channels: int) -> diffusers.AutoencoderKLFlux2:
    """Cells of 8 pixels, with statistics of its channels in its weights."""
    net = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=channels // 4,
        norm_num_groups=4,
    )
    net.bn.running_mean.normal_(0, 0.3)
    net.bn.running_var.uniform_(0.5, 2)
    return net


def flux2(channels: int) -> diffusers.Flux2Transformer2DModel:
    return diffusers.Flux2Transformer2DModel(
        in_channels=channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )


def scheduler(prediction: str = "epsilon") -> diffusers.DDIMScheduler:
    return diffusers.DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", prediction_type=prediction)


def _write(folder: Path, pipeline: str, **components) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, component in components.items():
        options = {} if name == "scheduler" else dict(safe_serialization=True)
        component.save_pretrained(folder / name, **options)
    index = {name: ["diffusers", type(part).__name__] for name, part in components.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **index}))
    return folder


def save(kind: str, folder: Path) -> Path:
    """One of `KINDS` as a folder."""
    torch.manual_seed(len(kind))
    if kind in ("epsilon", "v_prediction"):
        return _write(folder, "StableDiffusionPipeline", unet=unet(), vae=autoencoder(), scheduler=scheduler(kind))
    if kind == "sdxl":
        _write(
            folder,
            "StableDiffusionXLPipeline",
            unet=unet(**added(6)),
            vae=autoencoder(scaling_factor=0.13025),
            scheduler=scheduler(),
        )
        _write(
            folder / "refiner",
            "StableDiffusionXLImg2ImgPipeline",
            unet=unet(**added(5)),
            vae=autoencoder(),
            scheduler=scheduler(),
        )
        return folder
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    if kind == "flux2":
        return _write(folder, "Flux2KleinPipeline", transformer=flux2(CHANNELS), vae=patched(CHANNELS), scheduler=flow)
    # Flux's and Z-Image's smallest picture is 256x256 pixels, whatever the cell: large ones keep the tests short.
    shifted = autoencoder(levels=2 if kind == "sd3" else 4, scaling_factor=0.3611, shift_factor=0.1159)
    if kind == "flux":
        net = diffusers.FluxTransformer2DModel(
            in_channels=4 * CHANNELS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=8,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        )
        return _write(folder, "FluxPipeline", transformer=net, vae=shifted, scheduler=flow)
    if kind == "sd3":
        net = diffusers.SD3Transformer2DModel(
            sample_size=16,
            in_channels=CHANNELS,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            caption_projection_dim=16,
            pooled_projection_dim=8,
            out_channels=CHANNELS,
            pos_embed_max_size=64,
        )
        return _write(folder, "StableDiffusion3Pipeline", transformer=net, vae=shifted, scheduler=flow)
    net = diffusers.ZImageTransformer2DModel(
        in_channels=CHANNELS,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[64, 64, 64],
    )
    return _write(folder, "ZImagePipeline", transformer=net, vae=shifted, scheduler=flow)


KINDS = ("epsilon", "v_prediction", "sdxl", "flux", "sd3", "z_image", "flux2")


LETTERS = [chr(c) for c in range(97, 123)]
START, END = "<|startoftext|>", "<|endoftext|>"
CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}<|endoftext|>"


def _clip(hidden: int, projection: int | None = None):
    """A CLIP text encoder whose vocabulary is the letters; with a projection of the pooled text, as SDXL's and SD 3's
    are.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    last = 2 * len(LETTERS) + 1
    return kind(
        CLIPTextConfig(
            vocab_size=last + 1,
            hidden_size=hidden,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=last - 1,
            eos_token_id=last,
            pad_token_id=last,
            projection_dim=projection or 16,
        )
    )


def _t5(width: int):
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(LETTERS) + 4, d_model=width, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    )


def _qwen(width: int, layers: int = 2, kind: str = "Qwen3Model"):
    import transformers

    return getattr(transformers, kind)(
        transformers.Qwen3Config(
            vocab_size=len(LETTERS) + 2,
            hidden_size=width,
            intermediate_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            pad_token_id=0,
            eos_token_id=0,
            bos_token_id=None,
        )
    )


def _clip_tokenizer(folder: Path) -> None:
    words = [*LETTERS, *(c + "</w>" for c in LETTERS), START, END]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            dict(
                tokenizer_class="CLIPTokenizer",
                model_max_length=77,
                bos_token=START,
                eos_token=END,
                unk_token=END,
                pad_token=END,
            )
        )
    )


def _t5_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", "\u2581", *LETTERS]
    tokens = Tokenizer(models.Unigram([(w, -float(i)) for i, w in enumerate(words)], unk_id=2))
    tokens.pre_tokenizer = pre_tokenizers.Metaspace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokens.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            dict(
                tokenizer_class="T5TokenizerFast",
                model_max_length=512,
                eos_token="</s>",
                unk_token="<unk>",
                pad_token="<pad>",
                extra_ids=0,
            )
        )
    )


def _qwen_tokenizer(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate([END, *LETTERS, "\u0120"])}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            dict(
                tokenizer_class="Qwen2Tokenizer",
                model_max_length=512,
                eos_token=END,
                pad_token=END,
                unk_token=END,
                chat_template=CHAT,
            )
        )
    )


TOKENIZERS = {"CLIPTokenizer": _clip_tokenizer, "T5TokenizerFast": _t5_tokenizer, "Qwen2Tokenizer": _qwen_tokenizer}


def _add(folder: Path, number: str, encoder, words: str, **others) -> None:
    """A text encoder and its tokenizer; number: "", "_2" or "_3"; others: null entries of the index."""
    encoder.save_pretrained(folder / f"text_encoder{number}")
    own = folder / f"tokenizer{number}"
    own.mkdir()
    TOKENIZERS[words](own)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        f"text_encoder{number}": ["transformers", type(encoder).__name__],
        f"tokenizer{number}": ["transformers", words],
    } | others
    (folder / "model_index.json").write_text(json.dumps(index))


NONE = [None, None]


def add_text(folder: Path, kind: str = "epsilon") -> Path:
    """The text encoders and tokenizers that a folder of `kind` has when it is published, tiny; vocabularies are the
    letters.
    """
    torch.manual_seed(1)
    if kind in ("epsilon", "v_prediction"):
        _add(folder, "", _clip(16), "CLIPTokenizer", safety_checker=NONE, feature_extractor=NONE)
    elif kind == "sdxl":
        _add(folder, "", _clip(8), "CLIPTokenizer")
        _add(folder, "_2", _clip(8, 32), "CLIPTokenizer", force_zeros_for_empty_prompt=True)
        _add(
            folder / "refiner",
            "_2",
            _clip(16, 32),
            "CLIPTokenizer",
            text_encoder=NONE,
            tokenizer=NONE,
            requires_aesthetics_score=True,
        )
    elif kind == "flux":
        _add(folder, "", _clip(8), "CLIPTokenizer")
        _add(folder, "_2", _t5(16), "T5TokenizerFast")
    elif kind == "sd3":
        _add(folder, "", _clip(8, 4), "CLIPTokenizer")
        _add(folder, "_2", _clip(8, 4), "CLIPTokenizer")
        _add(folder, "_3", _t5(16), "T5TokenizerFast")
    elif kind == "flux2":
        # three of its layers are heard, the last of them the 27th
        _add(folder, "", _qwen(8, 27, "Qwen3ForCausalLM"), "Qwen2Tokenizer")
    else:
        _add(folder, "", _qwen(16), "Qwen2Tokenizer")
    return folder
