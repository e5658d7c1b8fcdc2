from wmh_runtime.text import count_noun


def test_one_is_one_and_all_others_are_many():
    assert [count_noun(n, "scan") for n in (0, 1, 2)] == ["no scans", "1 scan", "2 scans"]
