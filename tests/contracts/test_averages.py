from clearsight.testing.averaging_contract import AveragingContract
from clearsight.testing.contract import suite


class TestAverages(suite(AveragingContract())):
    pass
