"""A small model that always says something, and the folder that it is saved in."""

import pytest

import facekit


@pytest.fixture(scope="package")
def model_and_processor():
    model, processor = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )
    unwritten = range(len(processor.tokenizer), model.config.get_text_config().vocab_size)
    model.generation_config.suppress_tokens = sorted({*processor.tokenizer.all_special_ids, *unwritten})
    return model, processor


@pytest.fixture(scope="package")
def folder(model_and_processor, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    for part in model_and_processor:
        part.save_pretrained(path)
    return path
