"""Prepared sets of tensorflow-datasets, made offline from arrays."""

import io
import struct
from pathlib import Path

import tensorflow_datasets as tfds
from PIL import Image


def prepare(dir, name, splits, *, names, config=None, shape=None, keys=None, extra=None):
    """Writes splits ``{name: (samples, labels)}`` into ``dir`` as the set ``name``.

    Samples are uint8 images or, of one axis, int16 waveforms; ``keys`` gives the order in which
    tensorflow-datasets shuffles; ``extra`` adds features: name to connector and function of row.
    """
    samples = next(iter(splits.values()))[0]
    audio = samples[0].ndim == 1
    key = "audio" if audio else "image"
    feature = (
        tfds.features.Audio(sample_rate=16000)
        if audio
        else tfds.features.Image(shape=shape or samples[0].shape)
    )
    extra = extra or {}
    options = [tfds.core.BuilderConfig(name=config, version="3.0.2")] if config else []

    class Set(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.2")
        BUILDER_CONFIGS = options

        def _info(self):
            features = {key: feature, "label": tfds.features.ClassLabel(names=names)}
            features.update({each: kind for each, (kind, _) in extra.items()})
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for row, (sample, label) in enumerate(zip(*splits[split], strict=True)):
                example = {key: sample if audio else png(sample), "label": int(label)}
                example.update({each: value(row) for each, (_, value) in extra.items()})
                yield (f"{split}_{row}" if keys is None else keys(row)), example

    Set.name = name
    builder = Set(data_dir=dir, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_path)


def png(image):
    """A PNG file of an image, as a stream."""
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, "PNG")
    stream.seek(0)
    return stream


def crc(data):
    """The masked CRC-32C of some bytes, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) % 2**32)


def as_tfrecord(folder):
    """Turns a prepared array_record set into a tfrecord set of the same records."""
    builder = tfds.builder_from_directory(folder)
    raw = tfds.core.decode.DeserializeMethod.RAW_BYTES
    for split in builder.info.splits.values():
        source = builder.as_data_source(split.name, deserialize_method=raw)
        (file,) = map(Path, split.filepaths)
        with open(str(file).replace("array_record", "tfrecord"), "wb") as stream:
            for record in (source[row] for row in range(len(source))):
                length = struct.pack("<Q", len(record))
                stream.write(length + crc(length) + record + crc(record))
        file.unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
