from importlib.metadata import version

import pytest

from scripts.compare_versions import differences, installed_packages, main, read_constraints, table


@pytest.fixture
def constraints(tmp_path):
    file = tmp_path / "constraints.txt"
    file.write_text("# head\nLazy_Loader==0.4\ntorch>=2.11,<2.16  # a range\n\nav==18.1.0\nmkdocs==1.6\n")
    return file


def test_names_are_normalised_and_comments_skipped(constraints):
    assert list(read_constraints(constraints)) == ["lazy-loader", "torch", "av", "mkdocs"]


def test_only_what_differs_is_listed_and_a_range_is_met_by_any_build_inside_it(constraints):
    installed = {"lazy-loader": "0.4", "torch": "2.15.0+cu130", "av": "19.0.0rc1", "brand-new": "1.0"}
    assert differences(read_constraints(constraints), installed) == [
        ("av", "==18.1.0", "19.0.0rc1"),
        ("brand-new", "-", "1.0"),
    ]


def test_the_table_is_aligned_under_its_heads():
    assert table([("transformers", "==5.24.0", "5.17.0")]).splitlines() == [
        "package       constraint  here",
        "transformers  ==5.24.0    5.17.0",
    ]


def test_the_command_lists_this_environment_against_a_file(constraints, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare_versions", str(constraints)])
    main()
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["package"] == ["constraint", "here"]
    assert rows["transformers"] == ["-", version("transformers")]
    assert "pip" not in rows
    assert "facekit-mllm" not in rows


def test_an_environment_that_is_the_files_says_so(tmp_path, monkeypatch, capsys):
    file = tmp_path / "constraints.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in installed_packages().items()))
    monkeypatch.setattr("sys.argv", ["compare_versions", str(file)])
    main()
    assert capsys.readouterr().out == f"every version here is the one of {file}\n"


def test_without_a_file_the_versions_are_printed(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare_versions"])
    main()
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("Python 3.")
    assert f"transformers {version('transformers')}, " in text
    assert f"pytest {version('pytest')}," in text
