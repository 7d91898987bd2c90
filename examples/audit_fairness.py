"""Audit a model by group: for whom does it fail, and is the difference more than noise?

    python examples/audit_fairness.py runs/facellm-1b fairface/validation.jsonl runs/audit --tasks expression age
    python examples/audit_fairness.py runs/facellm-1b faces/test/records.jsonl runs/audit --scoring likelihood

Groups are those of the records (``groups``: gender, age group, race, skin tone, ...). Every p-value is adjusted for
the number of comparisons. The exit status is 1 where a difference is significant, so that a release pipeline can stop.
With ``--scoring likelihood`` overconfidence is compared, too. A difference that few faces do not show may still exist.
"""

import argparse
import sys
from pathlib import Path

import rich

from facekit.evaluation import Run, evaluate_model, group_table, load_tasks, open_model, sign_off, write_report
from facekit.reports import ProgressDisplay, format_p_value


def main() -> int:
    """Evaluate by group and say what was found, worst first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("records", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["expression", "age", "manipulation"])
    parser.add_argument("--scoring", choices=("generation", "likelihood"), default="generation")
    arguments = parser.parse_args()

    with ProgressDisplay() as progress:
        result = evaluate_model(
            open_model(arguments.model),
            arguments.records,
            load_tasks(arguments.tasks),
            scoring=arguments.scoring,
            output_dir=arguments.output,
            resume=True,
            on_progress=progress,
        )
    rich.print(group_table(result))
    findings = sign_off(result)
    for finding in findings:
        mark = "SIGNIFICANT" if finding.is_significant else "no evidence"
        print(f"{mark}  {finding.task}: {finding.sentence} ({format_p_value(finding.disparity.p_value)})")
    print(write_report(arguments.output, arguments.records, [Run.read(arguments.output)]))
    return int(any(finding.is_significant for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
