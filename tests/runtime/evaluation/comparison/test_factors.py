import pytest

from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.comparison.factors import find_factors
from wmh_runtime.evaluation.comparison.reports import ComparedScan


def scans(*sites, bands=("under 2", "30 and more", "2 to 5")):
    return [
        ComparedScan(f"sub-{i}_ses-1", f"sub-{i}", site, bands[i % len(bands)])
        for i, site in enumerate(sites)
    ]


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "participants.tsv"
        path.write_text("\n".join(line.replace(" ", "\t") for line in lines) + "\n")
        return path

    return write


def test_site_and_load_are_factors():
    found = find_factors(scans("B", "A", "", "B"))
    assert [factor.name for factor in found.used] == ["site", "load_band_ml"]
    site, load = found.used
    assert site.levels == ("A", "B")
    assert site.level_of_scan.tolist() == ["B", "A", "", "B"]
    assert (site.unknown, load.unknown) == (1, 0)
    assert load.levels == ("under 2", "2 to 5", "30 and more")  # from small to large
    assert found.skipped == ()


def test_a_factor_of_one_level_is_skipped():
    found = find_factors(scans("A", "", "A", bands=("under 2",)))
    assert found.used == ()
    assert found.skipped == (
        "site: only one level, A (2 scans), the others are unknown (1)",
        "lesion load (mL): only one level, under 2 (3 scans)",
    )


def test_a_factor_that_is_not_known_is_skipped():
    assert find_factors(scans("", "")).skipped == ("site: not known of any scan",)


def test_a_column_of_a_table_is_the_first_factor(write):
    table = write("participant_id Stage", "sub-0 MCI", "1 CN", "sub-2 n/a")
    found = find_factors(scans("A", "B", "A", "B"), table, ["Stage"])
    assert [factor.name for factor in found.used] == ["stage", "site", "load_band_ml"]
    stage = found.used[0]
    assert stage.levels == ("CN", "MCI")
    assert stage.level_of_scan.tolist() == ["MCI", "CN", "", ""]
    assert stage.unknown == 2


def test_the_site_of_the_table_replaces_that_of_the_reports(write):
    table = write("participant_id site", "sub-0 X", "sub-1 Y")
    found = find_factors(scans("A", "B"), table, ["site"])
    assert [factor.levels for factor in found.used if factor.name == "site"] == [("X", "Y")]


def test_measurements_are_no_factor(write):
    table = write("participant_id age", *(f"sub-{i} {60 + i}" for i in range(13)))
    found = find_factors(scans(*"ABABABABABABA"), table, ["age"])
    assert "age: 13 levels, expected at most 12; join them to groups" in found.skipped
    twelve = find_factors(scans(*"ABABABABABAB"), table, ["age"])
    assert "age" in [factor.name for factor in twelve.used]


def test_a_missing_column_is_named(write):
    table = write("participant_id age", "sub-0 60")
    with pytest.raises(InputError, match="has no column stage; it has: participant_id, age"):
        find_factors(scans("A"), table, ["stage"])


def test_a_participant_of_two_values_is_an_error(write):
    table = write("participant_id stage", "sub-0 CN", "sub-0 AD")
    with pytest.raises(InputError, match="has two values of stage for sub-0"):
        find_factors(scans("A"), table, ["stage"])


def test_a_column_without_a_table_is_an_error():
    with pytest.raises(InputError, match="there is no table of participants for stage"):
        find_factors(scans("A"), None, ["stage"])
