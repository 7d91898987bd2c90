"""Figures that pages and the README state are those of the results that they come from, rounded."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def read_page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def read_results(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rows_of(page, heading):
    """Cells of the rows of the table whose first heading this is."""
    lines = read_page(page).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return found
        found.append([cell.strip() for cell in line.strip("| ").split(" | ")])
    return found


def numbers_of(text):
    """Numbers as they are written, without the commas between thousands."""
    return [number.replace(",", "") for number in NUMBER.findall(text)]


def is_rounded(written, value):
    """Whether a number as it is written is the value, rounded to its decimals."""
    decimals = len(written.partition(".")[2])
    return abs(float(written) - value) <= 0.5 * 10**-decimals + 1e-9


def assert_rounded(text, values):
    """Compare all numbers of a text, in their order, with the values behind them."""
    written = numbers_of(text)
    assert len(written) == len(values), text
    assert [each for each in zip(written, values, strict=True) if not is_rounded(*each)] == [], text


@pytest.mark.parametrize(("written", "value", "expected"), [("419", 418.497, False), ("418", 418.497, True),
                                                            ("2.6", 2.55, True), ("2.6", 2.66, False)])  # fmt: skip
def test_rounding_is_that_of_the_digits_shown(written, value, expected):
    assert is_rounded(written, value) == expected


def region_attention():
    """Medians in milliseconds by width, frames, pass and way."""
    found = {}
    for name in ("region_attention-amd-epyc-2-threads", "region_attention-amd-epyc-2-threads-widths"):
        for row in read_results(name)["results"]:
            found[row["width"], row["frames"], row["pass"], row["peer"]] = 1e3 * row["median_seconds"]
    return found


@pytest.mark.parametrize("row", rows_of("docs/region-attention.md", "D"), ids=lambda row: f"{row[0]}-{row[1]}")
def test_region_attention_beside_its_peer(row):
    medians, point = region_attention(), (int(row[0]), int(row[1]))
    for cells, which in ((row[2:5], "forward"), (row[5:8], "forward+backward")):
        shown = [(numbers_of(cell)[0], 1e-3 if cell.endswith(" s") else 1) for cell in cells[:2]]
        (peer, peer_unit), (own, own_unit) = shown
        sdpa = medians[*point, which, "sdpa"]
        ways = [medians[key] for key in ((*point, which, f"facekit_{way}") for way in ("auto", "absorbed", "lean"))
                if key in medians]  # fmt: skip
        assert is_rounded(peer, peer_unit * sdpa)
        assert any(is_rounded(own, own_unit * way) and is_rounded(cells[2], sdpa / way) for way in ways)


def test_what_stands_between_a_cpu_and_its_peak():
    names = {
        "all operations at the rate of a large matrix product": "ideal",
        "dense products at their own shapes": "dense",
        "streaming products at their own shapes": "stream",
        "softmax": "scores",
        "residual": "residual",
    }
    for way in ("absorbed", "lean"):
        names[f"page faults: `{way}`"] = f"facekit_{way} faults"
        names[f"whole call: `{way}`"] = f"facekit_{way}"
        names[f"whole call, memory kept: `{way}`"] = f"facekit_{way} kept"
    summaries = [
        summary
        for name in ("region_attention_limits", "region_attention_limits-bfloat16")
        for summary in read_results(f"{name}-amd-epyc-1-thread")["results"][0]["summary"]
    ]
    rows = rows_of("docs/region-attention.md", "milliseconds")
    assert {row[0] for row in rows} == names.keys()
    for name, *cells in rows:
        for cell, summary in zip(cells, summaries, strict=True):
            value = summary[names[name]]
            share = [100 * summary["ideal"] / value] if "%" in cell else []
            assert_rounded(cell, [1e3 * value, *share])


CONDITIONS = {
    "faces of 24, 32, 48 px": ("24 px", "32 px", "48 px"),
    "64, 96, 128 px": ("64 px", "96 px", "128 px"),
    "256, 512 px": ("256 px", "512 px"),
    "turned by 15, 30 degrees": ("turned 15", "turned 30"),
    "45, 60 degrees": ("turned 45", "turned 60"),
    "90, 180, 270 degrees": ("turned 90", "turned 180", "turned 270"),
    "grey, dark, framed": ("grey", "dark", "border"),
}


@pytest.mark.parametrize("row", rows_of("docs/responsible-use.md", "copies"), ids=lambda row: row[0])
def test_landmarkers_on_photographs(row):
    measured = {(each["condition"], each["landmarker"]): each
                for each in read_results("landmarkers-amd-epyc-1-thread")["results"]}  # fmt: skip
    for cells, landmarker in ((row[1:4], "mesh"), (row[4:7], "dlib")):
        found = [measured[condition, landmarker] for condition in CONDITIONS[row[0]]]
        assert_rounded(cells[0], [each["found"] for each in found])
        assert_rounded(cells[1], [each["right"] for each in found])
        written, unit = numbers_of(cells[2]), 1e3 if cells[2].endswith(" s") else 1
        times = [each["milliseconds"] / unit for each in found]
        if len(written) == len(times):
            assert_rounded(cells[2], times)
        else:  # one for all, or the least and the most
            step = 10 ** -len(written[0].partition(".")[2])
            assert all(float(written[0]) - step < time < float(written[-1]) + step for time in times)


@pytest.mark.parametrize("row", rows_of("docs/datasets.md", "longer side"), ids=lambda row: row[0])
def test_preprocessing_by_landmarker(row):
    measured = {
        (each["part"], each["landmarker"]): each
        for each in read_results("preprocess-amd-epyc-1-thread")["results"]
        if each["side"] == int(numbers_of(row[0])[0])
    }
    dlib, mesh, parts = (measured[key] for key in (("speed", "dlib"), ("speed", "mesh"), ("parts", "mesh")))
    values = [1e3 / each["pictures_per_processor_second"] for each in (dlib, mesh)]
    values += [mesh["times_the_first"], parts["reading_ms"] + parts["rest_ms"], parts["detector_ms"], parts["mesh_ms"]]
    values += [parts["faces_ms"] - parts["detector_ms"] - parts["mesh_ms"]]
    assert_rounded(" | ".join(row[1:]), values)


def test_preprocessing_of_one_photograph():
    told = r"`mesh` is (.*?) times as fast as dlib at (512, .*? px),"
    ((shown, sides),) = re.findall(told, in_one_line("docs/datasets.md"))
    speeds = {
        each["side"]: each["times_the_first"]
        for each in read_results("preprocess-astronaut-amd-epyc-1-thread")["results"]
        if (each["part"], each["landmarker"]) == ("speed", "mesh")
    }
    assert_rounded(shown, [speeds[int(side)] for side in numbers_of(sides)])


def in_one_line(page):
    return " ".join(read_page(page).split())


def test_loading_with_and_without_processes():
    (shown,) = re.findall(r"512 × 512 pixels came (at .*? from shards at .*?) \(", in_one_line("docs/training.md"))
    rates = [each["samples_per_second"] for each in read_results("loading-amd-epyc-1-thread")["results"]]
    assert_rounded(shown.replace("one process", ""), rates)


def test_rates_of_data_generation():
    page = in_one_line("docs/data-generation.md")
    rates = read_results("datagen")["rates"]
    turns = {}
    for turn in rates["turns"]:
        turns.setdefault(turn["client"], []).append(turn)
    per_second = {name: statistics.median(each["per_second"] for each in found) for name, found in turns.items()}
    cost = {name: statistics.median(1e3 * each["processor_seconds"] / each["calls"] for each in found)
            for name, found in turns.items()}  # fmt: skip
    (with_aiohttp,) = re.findall(r"A call costs ([\d.]+) ms", page)
    (with_openai,) = re.findall(r"and ([\d.]+) ms with `transport=openai`", page)
    assert is_rounded(with_aiohttp, cost["pipeline, aiohttp"])
    assert is_rounded(with_openai, cost["pipeline, openai"])
    (shown,) = re.findall(r"gave a bare client (.*?), all on", page)
    shares = [100 * rates["share_of_capacity"][name] for name in ("openai", "aiohttp")]
    names = ("bare client", "pipeline, openai", "pipeline, aiohttp")
    assert_rounded(shown, [*(per_second[name] for name in names), *shares, per_second["sequential client"]])


TASKS = {"expression": "expression", "action units": "action_units", "attributes": "attributes", "age": "age",
         "manipulation": "manipulation"}  # fmt: skip


def rows_of_the_readme(*columns):
    """Rows of the table of the README with these columns, a task each."""
    heading = re.escape(f"| task | measure | {' | '.join(columns)} |")
    (table,) = re.findall(rf"{heading}\n.*\n((?:\|.*\n)+)", read_page("README.md"))
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]
    assert [row[0] for row in rows] == list(TASKS)
    return rows


def test_the_readmes_scores_with_and_without_landmarks():
    runs = read_results("demo_connectors")["runs"]
    for row in rows_of_the_readme("`region`", "`mlp`"):
        for cell, connector in ((row[2], "region"), (row[3], "mlp")):
            scores = [run["scores"][TASKS[row[0]]] for run in runs if run["connector"] == connector]
            assert_rounded(cell, [statistics.mean(scores), min(scores), max(scores)])


def test_the_readmes_scores_of_the_demo():
    (amd,) = (
        run for run in read_results("demo_connectors")["runs"] if (run["connector"], run["seed"]) == ("region", 0)
    )
    intel = read_results("demo-intel-r-xeon-r-processor-2-threads")
    assert intel["settings"] == read_results("demo_connectors")["settings"]
    for name, _, *cells in rows_of_the_readme("AMD EPYC", "Intel Xeon", "baseline"):
        task = TASKS[name]
        values = [amd["scores"][task], intel["scores"][task], amd["baselines"][task]]
        assert_rounded(" | ".join(cells), values)
        assert intel["baselines"][task] == amd["baselines"][task]


def test_the_readmes_ratios_of_training():
    results = read_results("training-amd-epyc-2-threads")["results"]
    for way, told in (
        ("padded", r"encoded once: (.*?) times the samples"),
        ("trl", r"batches and (.*?) times those of"),
    ):
        (shown,) = re.findall(told, in_one_line("README.md"))
        ratios = sorted(row["speed_of_shared"] for row in results if row["way"] == way)
        assert_rounded(shown, [ratios[0], ratios[-1]])


def test_the_readmes_ratio_of_region_attention():
    (shown,) = re.findall(r"from eight frames on (.*?) times faster than the usual order", in_one_line("README.md"))
    medians = region_attention()
    ratios = [
        medians[4096, frames, which, "sdpa"] / medians[4096, frames, which, "facekit_auto"]
        for frames in (8, 32)
        for which in ("forward", "forward+backward")
    ]
    least, most = map(int, numbers_of(shown))
    assert least <= min(ratios)
    assert round(max(ratios)) == most


SERVERS = ("naive", "facekit serve", "facekit serve, vLLM")


def test_the_servers_are_those_of_one_run():
    results = read_results("serving-intel-r-xeon-r-processor-2-threads")["results"]
    rates = {
        server: [
            f"{row['requests_per_second']:.1f}" for row in results if row.get("clients") and row["server"] == server
        ]
        for server in SERVERS
    }
    assert [cells[1:] for cells in rows_of("docs/serving.md", "server")] == list(rates.values())


@pytest.mark.parametrize(
    ("tokens", "told"), [("", "1.32 times the"), ("-32-tokens", "1.13 times"), ("-64-tokens", "1.08 times")]
)
def test_the_slowest_request_of_32_clients_takes_the_stated_share_of_a_batch(tokens, told):
    results = read_results(f"serving{tokens}-intel-r-xeon-r-processor-2-threads")["results"]
    measured = next(row for row in results if row["server"] == "facekit serve" and row.get("clients") == 32)
    assert told.startswith(f"{measured['p99_over_batch']:.2f} ")
    assert told in read_page("docs/serving.md")


def test_training_on_shared_and_idle_cores_has_the_stated_ratios():
    results = read_results("busy_cores-intel-r-xeon-r-processor-2-threads")["results"]
    idle, busy = (f"{row['faster_by']:.2f} times" for row in results)
    page = " ".join(read_page("docs/training.md").split())
    assert f"{busy} as fast beside a busy process and {idle} on idle cores" in page


def test_the_roofline_of_the_page_is_that_of_the_results():
    drawn = RESULTS / "region_attention-amd-epyc-2-threads.png"
    assert (ROOT / "docs" / "images" / "region-attention-roofline-cpu.png").read_bytes() == drawn.read_bytes()
