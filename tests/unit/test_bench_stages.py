"""The profile of the ledger's stages measures the whole workload."""

from execpos.bench import stages


def test_the_stages_are_those_of_the_task_and_every_record_goes_through() -> None:
    report = stages.run(1_000, 3)

    assert report["records"] >= 1_000
    assert report["outputs"] > report["records"]
    parts = [report[f"{name}_us"] for name in ("decode", "payload", "normalize", "fold", "encode", "rest")]
    assert abs(sum(parts) - report["task_us"]) < 0.1
