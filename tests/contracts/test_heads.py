from clearsight.testing.contract import suite
from clearsight.testing.head_contract import HeadContract


class TestHeads(suite(HeadContract())):
    pass
