"""Small pictures."""

from __future__ import annotations

import numpy as np

from gpustitch.demo.score.draw import PAPER, grey, labelled, magenta_green, outlined, resized, sheet


def test_grey_spans_black_to_white() -> None:
    picture = grey(np.array([[0, 100, 200, 300]], np.uint16), 100, 200)
    assert picture[0, :, 0].tolist() == [0, 0, 255, 255]
    assert (picture[:, :, 0] == picture[:, :, 2]).all()
    assert grey(np.full((2, 2), 5.0), 5, 5).max() == 0


def test_two_images_that_agree_are_grey() -> None:
    a = np.array([[0, 10], [10, 0]])
    assert (magenta_green(a, a, 0, 10) == grey(a, 0, 10)).all()
    assert magenta_green(a, 10 - a, 0, 10)[0, 0].tolist() == [0, 255, 0]
    assert magenta_green(a, 10 - a, 0, 10)[0, 1].tolist() == [255, 0, 255]


def test_outlines_labels_and_sizes() -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    drawn = outlined(picture, [[(5, 5), (20, 5), (20, 15), (5, 15)]], (255, 0, 0))
    assert drawn[5, 12].tolist() == [255, 0, 0]
    assert drawn[10, 12].tolist() == [0, 0, 0]
    assert picture.max() == 0
    dashed = outlined(picture, [[(0, 5), (39, 5), (39, 25), (0, 25)]], (255, 0, 0), dashed=True)
    assert 10 < (dashed[5, :, 0] > 0).sum() < 35
    assert resized(picture, 15, 80).shape == (15, 80, 3)
    assert resized(picture, 0, 1).shape == (1, 1, 3)
    named = labelled(picture, "a rather long label for a small picture")
    assert named.shape[0] > 30
    assert named.shape[1] > 40


def test_a_sheet_holds_its_pictures() -> None:
    red, blue = (np.full((10, n, 3), c, np.uint8) for n, c in ((20, (255, 0, 0)), (30, (0, 0, 255))))
    paper = sheet([[red, blue], [blue]])
    assert (paper == (255, 0, 0)).all(axis=2).sum() == 200
    assert (paper == (0, 0, 255)).all(axis=2).sum() == 600
    assert tuple(paper[0, 0]) == PAPER
