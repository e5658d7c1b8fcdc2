from wmh_runtime.text import count_noun


def test_a_noun_is_plural_unless_the_count_is_one():
    assert [count_noun(n, "scan") for n in (0, 1, 2)] == ["no scans", "1 scan", "2 scans"]
