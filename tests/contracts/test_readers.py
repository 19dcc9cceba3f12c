from clearsight.testing.contract import suite
from clearsight.testing.reader_contract import ReaderContract


class TestReaders(suite(ReaderContract())):
    pass
