"""Statistics of two recognizers on the same pictures, against hand values, scipy and simulation."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import betabinom, binomtest

from clearsight.core.errors import DataError
from clearsight.evaluate.groups import letters
from clearsight.evaluate.paired import holm, luck_between_classes, mcnemar, paired_bootstrap
from clearsight.evaluate.pairs import LEVEL, LUCK, Answers, find_pairs, trained_again

RANDOM = np.random.default_rng


def answers(correct, labels=None):
    correct = np.asarray(correct, dtype=bool)
    labels = np.zeros(len(correct), dtype=np.int64) if labels is None else labels
    return Answers(np.arange(len(correct)), labels, correct)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 2**5),
        (8, 1, 2 * (1 + 9) / 2**9),
        (0, 10, 2 / 2**10),
    ],
)
def test_mcnemar_by_hand(first, second, expected):
    assert mcnemar(first, second) == pytest.approx(expected)
    assert mcnemar(second, first) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "second"), [(59, 6), (121, 59), (1010, 900), (30_000, 29_500)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    expected = binomtest(first, first + second).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("luck", [0.0005, 0.003, 0.1])
@pytest.mark.parametrize(("first", "second"), [(9, 2), (300, 190), (5000, 4000)])
def test_luck_makes_it_the_beta_binomial_test(first, second, luck):
    shape = (1 / luck - 1) / 2
    expected = 2 * betabinom.cdf(second, first + second, shape, shape)
    assert mcnemar(first, second, luck) == pytest.approx(expected, rel=1e-6)
    assert mcnemar(first, second, luck) > mcnemar(first, second)


def test_luck_does_not_wear_off_with_more_pictures():
    """A thousandfold test set makes any two trainings differ as they are, but not their kind."""
    assert mcnemar(505_000, 495_000) < 1e-20
    assert mcnemar(505_000, 495_000, luck=LUCK) > 0.5
    assert mcnemar(600_000, 400_000, luck=LUCK) < 0.001


def test_extreme_counts_give_a_number():
    assert 0 <= mcnemar(20_000, 0) < 1e-300
    assert mcnemar(20_000, 19_999) == pytest.approx(1.0, abs=0.01)


def test_holm_by_hand():
    """Holm's own steps: 4 * 0.005, 3 * 0.01, 2 * 0.03, then never less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert holm([0.9]) == [0.9]
    assert holm([]) == []
    assert holm([0.7, 0.8, 0.9]) == [1.0, 1.0, 1.0]


def test_bootstrap_matches_the_normal_interval_and_plain_resampling():
    random = RANDOM(1)
    labels = random.integers(0, 4, 3000)
    first = random.random(3000) < 0.9
    second = np.where(random.random(3000) < 0.1, ~first, first)
    accuracy, balanced = paired_bootstrap(first, second, labels, 0.95)
    difference = first.astype(float) - second
    assert accuracy.value == pytest.approx(difference.mean())
    half = 1.96 * difference.std() / 3000**0.5
    assert accuracy.low == pytest.approx(accuracy.value - half, abs=0.001)
    assert accuracy.high == pytest.approx(accuracy.value + half, abs=0.001)
    drawn = []
    for _ in range(1500):
        part = random.integers(0, 3000, 3000)
        drawn.append(
            np.mean([difference[part][labels[part] == label].mean() for label in range(4)])
        )
    assert balanced.value == pytest.approx(
        np.mean([difference[labels == label].mean() for label in range(4)])
    )
    assert balanced.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.0025)
    assert balanced.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.0025)


@pytest.mark.parametrize("n", [2, 7, 400])
def test_swapping_two_recognizers_mirrors_everything(n):
    random = RANDOM(n)
    labels = random.integers(0, 3, n)
    first, second = random.random(n) < 0.8, random.random(n) < 0.6
    one, other = (paired_bootstrap(*order, labels, 0.95) for order in _both(first, second))
    for mine, theirs in zip(one, other, strict=True):
        assert mine.value == -theirs.value
        assert mine.low == pytest.approx(-theirs.high, abs=1e-12)
        assert mine.high == pytest.approx(-theirs.low, abs=1e-12)


def _both(first, second):
    return (first, second), (second, first)


def test_a_rare_class_is_never_certain():
    """One picture of a class: a draw without it leaves the class out, so the interval is wide."""
    labels = np.array([0] * 99 + [1])
    first, second = np.ones(100, bool), np.array([True] * 99 + [False])
    accuracy, balanced = paired_bootstrap(first, second, labels, 0.95)
    assert accuracy.value == pytest.approx(0.01)
    assert balanced.value == pytest.approx(0.5)
    assert balanced.low == 0.0


@pytest.mark.parametrize("n", [1, 3, 50, 10_000])
def test_identical_recognizers_never_differ(n):
    same = RANDOM(n).random(n) < 0.7
    pair = find_pairs({"one": answers(same), "other": answers(same)})[0]
    assert not pair.different
    assert pair.p_corrected == pair.p_as_they_are == 1.0
    assert pair.accuracy.value == 0
    assert pair.accuracy.low < 0 < pair.accuracy.high
    assert pair.accuracy.high == pytest.approx(1 - 0.025 ** (1 / n))


def test_few_pictures_are_never_enough():
    """Five pictures, all won by one: p is 1/16 at best, so nothing can be said."""
    pair = find_pairs({"one": answers([1] * 5), "other": answers([0] * 5)})[0]
    assert (pair.only_first, pair.only_second) == (5, 0)
    assert not pair.different


def test_only_common_pictures_count():
    one = Answers(np.array([0, 1, 2, 5]), np.array([0, 0, 1, 1]), np.array([True] * 4))
    other = Answers(np.array([1, 2, 3, 5]), np.array([0, 1, 1, 1]), np.array([False] * 4))
    pair = find_pairs({"one": one, "other": other})[0]
    assert (pair.n, pair.only_first, pair.only_second) == (3, 3, 0)
    apart = Answers(np.array([7]), np.array([0]), np.array([True]))
    with pytest.raises(DataError, match="no picture in common"):
        find_pairs({"one": one, "apart": apart})


def test_many_pairs_are_corrected_together():
    random = RANDOM(3)
    table = {str(k): answers(random.random(2000) < 0.9) for k in range(6)}
    pairs = find_pairs(table)
    assert len(pairs) == 15
    assert [pair.p_corrected for pair in pairs] == pytest.approx(holm([p.p for p in pairs]))


@pytest.mark.parametrize(
    ("count", "different", "expected"),
    [
        (3, [], ["a", "a", "a"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (4, [(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        (1, [], ["a"]),
        (2, [(1, 0)], ["a", "b"]),
    ],
)
def test_letters_by_hand(count, different, expected):
    assert letters(count, different) == expected


@pytest.mark.parametrize("seed", range(20))
def test_two_share_a_letter_exactly_when_they_do_not_differ(seed):
    random = RANDOM(seed)
    count = int(random.integers(2, 9))
    different = {pair for pair in combinations(range(count), 2) if random.random() < 0.5}
    given = letters(count, different)
    for one, other in combinations(range(count), 2):
        assert bool(set(given[one]) & set(given[other])) != ((one, other) in different)


def test_even_wins_show_no_luck_and_uneven_ones_do():
    """Shares 3/4 in both classes; then 20 of 20 and 10 of 20: Pearson's X2 is 40/3, its df 1."""
    labels = np.array([0] * 20 + [1] * 20)
    even = np.array(([True] * 15 + [False] * 5) * 2)
    assert luck_between_classes(even, ~even, labels) == 0
    uneven = np.array([True] * 30 + [False] * 10)
    expected = (2 * 5**2 / (15 * 0.25) - 1) / 39
    assert luck_between_classes(uneven, ~uneven, labels) == pytest.approx(expected)
    assert luck_between_classes(~uneven, uneven, labels) == pytest.approx(expected)
    assert luck_between_classes(even, even, labels) == 0
    assert luck_between_classes(even, ~even, np.zeros(40, np.int64)) == 0
    everything = np.ones(40, bool)
    assert luck_between_classes(everything, ~everything, labels) == 0


CLASSES = 10


def training(random, chance, overall, by_class):
    """Which pictures one training recognises: coin flips, its luck, and its luck in each class."""
    labels = np.arange(len(chance)) % CLASSES
    luck = random.normal(0, overall) + random.normal(0, by_class, CLASSES)[labels]
    odds = np.log(chance / (1 - chance)) + luck
    return answers(random.random(len(chance)) < 1 / (1 + np.exp(-odds)), labels)


def called_different(one, other):
    return trained_again(one.correct, other.correct, one.labels)[0] <= 1 - LEVEL


def chances(random, n):
    """How often each picture is recognised: most nearly always, some hardly ever."""
    return np.clip(random.beta(2, 0.25, n), 0.001, 0.999)


@pytest.mark.parametrize(
    ("overall", "by_class"), [(0.0, 0.0), (0.02, 0.0), (0.0, 0.3)], ids=["none", "all", "classes"]
)
def test_seeds_of_one_configuration_are_called_different_in_at_most_5_percent(overall, by_class):
    """200 comparisons, each of two new trainings, with several kinds of luck."""
    random = RANDOM(11)
    called = 0
    for _ in range(200):
        chance = chances(random, 5000)
        couple = [training(random, chance, overall, by_class) for _ in range(2)]
        called += called_different(*couple)
    assert called <= 10


def test_as_they_are_seeds_would_be_called_different_too_often():
    """The negative control of the test above: what the room for luck is for."""
    random = RANDOM(11)
    called = 0
    for _ in range(100):
        chance = chances(random, 5000)
        one, other = (training(random, chance, 0.0, 0.3).correct for _ in range(2))
        called += mcnemar(int((one & ~other).sum()), int((other & ~one).sum())) <= 0.01
    assert called > 5


def test_a_truly_worse_configuration_is_called_different():
    """Three points of accuracy less on 10,000 pictures, with luck of both kinds."""
    random = RANDOM(12)
    called = 0
    for _ in range(40):
        chance = chances(random, 10_000)
        one = training(random, chance, 0.02, 0.1)
        other = training(random, np.clip(chance - 0.03, 0.001, 1), 0.02, 0.1)
        called += called_different(one, other)
    assert called >= 36


def test_seeds_on_real_pictures():
    """21 seeds of a linear model on scanned digits: 210 couples, and a control that must differ."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier

    digits = load_digits()
    train, test = slice(0, 900), slice(900, None)

    def trained(seed, count):
        model = SGDClassifier(loss="log_loss", max_iter=6, tol=None, random_state=seed)
        order = RANDOM(seed).permutation(900)[:count]
        model.fit(digits.data[train][order] / 16, digits.target[train][order])
        return answers(
            model.predict(digits.data[test] / 16) == digits.target[test], digits.target[test]
        )

    seeds = [trained(seed, 800) for seed in range(21)]
    called = [called_different(one, other) for one, other in combinations(seeds, 2)]
    assert len(called) >= 200
    assert np.mean(called) <= 0.05
    control = trained(0, 20)
    assert all(called_different(one, control) for one in seeds)
