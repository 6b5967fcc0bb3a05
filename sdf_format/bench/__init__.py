"""Benchmarks: `sdf bench NAME`. Each is a module with a `main(arguments)` that prints its table."""

BENCHES = {
    "models": "published models with random weights of their true shapes: seconds and memory",
    "memory": "bytes that large pictures take, tile by tile, at the true shapes and measured",
    "rcc": "reverse channel coders on the same vectors: bits, KL delivered, milliseconds",
    "coders": "reverse channel coders in the whole codec: bytes at equal PSNR and MS-SSIM",
    "speed": "seconds, memory and overhead of this installation",
    "plugin": "the Pillow plugin: thumbnails against full decoding, opening, verifying, damage, threads, imports",
    "load": "a busy server: requests a second and latency of 1 to 8 clients, as threads and as processes",
    "tables": "ways to tell a decoder the bits of every step, at equal bytes",
    "latents": "quantised latents of an autoencoder: bytes, PSNR, MS-SSIM against WebP at equal bytes",
    "sound": "bytes and distances of sounds through kind lowbit",
    "rd": "rate and distortion: SDF and other formats over folders of images; table, JSON, CSV, plots, a page with a "
    "slider",
}
