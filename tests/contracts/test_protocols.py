from clearsight.testing.contract import suite
from clearsight.testing.protocol_contract import ProtocolContract


class TestProtocols(suite(ProtocolContract())):
    pass
