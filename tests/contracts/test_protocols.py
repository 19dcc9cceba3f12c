import pytest

from clearsight.serve.protocols import grpc_protocols, http_protocols
from clearsight.testing.contract import suite
from clearsight.testing.protocol_contract import ProtocolContract
from clearsight.testing.protocol_violations import GRPC_VIOLATIONS

pytest.importorskip("grpc", reason="pip install 'clearsight[grpc]'")


class TestProtocols(suite(ProtocolContract())):
    pass


@pytest.mark.parametrize("clause", sorted(GRPC_VIOLATIONS))
def test_planted_violation_over_grpc_is_caught(clause):
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any failure is the point
        ProtocolContract().run(clause, GRPC_VIOLATIONS[clause])
    assert not isinstance(caught.value, KeyboardInterrupt)


def test_both_kinds_of_protocols_are_there():
    assert "oip-rest" in http_protocols()
    assert "rest" in http_protocols()
    assert grpc_protocols() == ["oip-grpc"]
