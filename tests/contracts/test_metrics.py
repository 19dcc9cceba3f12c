from clearsight.evaluate.figures import METRICS
from clearsight.testing.contract import suite
from clearsight.testing.metric_contract import EXPECTED, MetricContract


class TestMetrics(suite(MetricContract())):
    pass


def test_every_metric_of_ours_has_a_hand_worked_value():
    assert set(METRICS.keys()) == set(EXPECTED)
