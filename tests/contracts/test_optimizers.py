from clearsight.testing.contract import suite
from clearsight.testing.optimizer_contract import OptimizerContract


class TestOptimizers(suite(OptimizerContract())):
    pass
