from clearsight.testing.check_contract import CheckContract
from clearsight.testing.contract import suite


class TestChecks(suite(CheckContract())):
    pass
