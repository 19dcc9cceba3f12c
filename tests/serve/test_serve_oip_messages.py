"""The table of messages is the protocol's: compared with a generated client's descriptors."""

import pytest

pytest.importorskip("google.protobuf", reason="pip install 'clearsight[grpc]'")

from clearsight.serve.oip.messages import (
    DATA_TYPES,
    MESSAGES,
    METHODS,
    PACKAGE,
    POOL,
    SERVICE,
    describe,
    message_class,
)

service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")


def theirs(name):
    """Return the generated descriptor of a message."""
    outer, _, inner = name.partition(".")
    file = service_pb2 if hasattr(service_pb2, outer) else model_config_pb2
    descriptor = getattr(file, outer).DESCRIPTOR
    return descriptor.nested_types_by_name[inner] if inner else descriptor


def facts(field):
    """Return what decides how a field is written."""
    kind = field.message_type or field.enum_type
    choice = field.containing_oneof
    return (
        field.name,
        field.number,
        field.type,
        field.is_repeated,
        kind.full_name if kind else None,
        choice.name if choice else None,
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_is_written_as_a_generated_client_writes_it(name):
    ours = POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")
    generated = {facts(field) for field in theirs(name).fields}
    assert {facts(field) for field in ours.fields} <= generated
    for field in ours.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            other = theirs(name).fields_by_name[field.name].message_type
            assert {facts(f) for f in field.message_type.fields} == {facts(f) for f in other.fields}


def test_what_the_protocol_itself_defines_is_complete():
    for name in MESSAGES:
        if not name.startswith(("ModelConfig", "ModelInput", "ModelOutput", "ModelStatistics")):
            ours = POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")
            assert len(ours.fields) == len(theirs(name).fields), name


def test_methods_and_datatypes():
    generated = service_pb2.DESCRIPTOR.services_by_name[SERVICE].methods_by_name
    for method in describe().service[0].method:
        assert method.input_type == f".{generated[method.name].input_type.full_name}"
        assert method.output_type == f".{generated[method.name].output_type.full_name}"
    assert set(METHODS) <= set(generated)
    values = model_config_pb2.DataType.items()
    assert [(f"TYPE_{name}", number) for number, name in enumerate(DATA_TYPES)] == values


def test_both_copies_of_the_package_live_in_one_process():
    ours = message_class("ModelInferRequest")(model_name="a", raw_input_contents=[b"b"])
    parsed = service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
    assert (parsed.model_name, list(parsed.raw_input_contents)) == ("a", [b"b"])
