import subprocess
import sys

import pytest

import facekit.faces


def test_importing_the_package_imports_neither_torch_nor_dlib_nor_numpy():
    code = "import sys, facekit.faces; print([m for m in ('torch', 'dlib', 'numpy', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_cropping_and_drawing_need_no_torch():
    code = (
        "import sys; from facekit.faces import prepare_face, draw_overlay, FACE_REGIONS; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_every_public_name_is_found_and_listed():
    for name in facekit.faces.__all__:
        assert getattr(facekit.faces, name) is not None
    assert set(facekit.faces.__all__) <= set(dir(facekit.faces))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="attribute prepare_fase"):
        _ = facekit.faces.prepare_fase
