from wmh_train.consensus.notes import Note, summarize_notes


def test_a_kind_of_note_is_one_line_with_the_number_of_scans_and_the_first_three():
    notes = [(f"sub-{i}", Note("hardly shared", f"Dice 0.0{i}")) for i in range(5)]
    notes.insert(1, ("sub-0", Note("no voxel")))
    notes += [("sub-8", Note("one mask")), ("sub-9", Note("one mask"))]
    assert summarize_notes(notes) == [
        "5 scans, sub-0, sub-1, sub-2 and 2 more: hardly shared",
        "sub-0: no voxel",
        "2 scans, sub-8, sub-9: one mask",
    ]


def test_a_single_note_keeps_its_detail():
    notes = [("sub-1", Note("hardly shared", "Dice 0.05"))]
    assert summarize_notes(notes) == ["sub-1: hardly shared: Dice 0.05"]
    assert summarize_notes([]) == []
