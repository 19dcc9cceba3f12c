from clearsight.testing.contract import suite
from clearsight.testing.loss_contract import LossContract


class TestLosses(suite(LossContract())):
    pass
