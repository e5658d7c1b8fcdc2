from wmh_runtime.text import counted


def test_one_is_one_and_all_others_are_many():
    assert [counted(n, "scan") for n in (0, 1, 2)] == ["no scans", "1 scan", "2 scans"]
