"""The bench of snapshots measures a real book."""

from execpos.bench import snapshot


def test_the_report_counts_rows_orders_parts_and_bytes() -> None:
    report = snapshot.run(200, 300)

    assert (report["positions"], report["orders"], report["open_orders"]) == (200, 300, 4)
    assert report["parts"] == 1
    assert report["bytes"] > 200 * 100
    assert report["bytes_with_marks"] > report["bytes"]
    assert min(report[name] for name in ("first_ms", "next_ms", "first_ms_with_marks", "next_ms_with_marks")) >= 0
