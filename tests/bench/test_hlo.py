"""Reading compiled programs: what is launched, in which loops, and what no round may have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.bench.hlo import offences, parse, shape_bytes
from fedcode_jax.bench.kernels import Loop, blocks

GPU = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[64,64]{1,0})->f32[64,64]{1,0}}

FileNames
1 "f.py"

%gemm (parameter_0: f32[64,64], parameter_1: f32[64,64]) -> f32[64,64] {
  %parameter_0 = f32[64,64]{1,0} parameter(0)
  %parameter_1 = f32[64,64]{1,0} parameter(1)
  ROOT %dot.0 = f32[64,64]{1,0} dot(%parameter_0, %parameter_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="jit(f)/while/body/jvp(batch_loss)/dot" stack_frame_id=3}
}

%fused_add (param_0: s32[]) -> s32[] {
  %param_0 = s32[] parameter(0)
  %constant_1 = s32[] constant(1)
  ROOT %add.1 = s32[] add(%param_0, %constant_1), metadata={op_name="jit(f)/while/body/add"}
}

%body (arg_tuple.1: (s32[], f32[64,64], s32[])) -> (s32[], f32[64,64], s32[]) {
  %arg_tuple.1 = (s32[], f32[64,64]{1,0}, /*index=2*/s32[]) parameter(0)
  %get-tuple-element.6 = s32[] get-tuple-element(%arg_tuple.1), index=0
  %loop_add_fusion = s32[] fusion(%get-tuple-element.6), kind=kLoop, calls=%fused_add, metadata={op_name="jit(f)/while/body/add"}
  %get-tuple-element.7 = f32[64,64]{1,0} get-tuple-element(%arg_tuple.1), index=1
  %gemm_fusion = f32[64,64]{1,0} fusion(%get-tuple-element.7, %get-tuple-element.7), kind=kCustom, calls=%gemm, metadata={op_name="jit(f)/while/body/jvp(batch_loss)/dot"}, backend_config={"fusion_backend_config":{"kind":"__triton_nested_gemm_fusion"}}
  %copy.5 = f32[64,64]{1,0} copy(%gemm_fusion)
  ROOT %tuple.3 = (s32[], f32[64,64]{1,0}, s32[]) tuple(%loop_add_fusion, %copy.5, %get-tuple-element.6)
}

%compare (param_0.3: s32[], param_1.1: s32[]) -> pred[] {
  %param_0.3 = s32[] parameter(0)
  %param_1.1 = s32[] parameter(1)
  ROOT %lt.1 = pred[] compare(%param_0.3, %param_1.1), direction=LT
}

%condition (arg_tuple.3: (s32[], f32[64,64], s32[])) -> pred[] {
  %arg_tuple.3 = (s32[], f32[64,64]{1,0}, s32[]) parameter(0)
  %get-tuple-element.9 = s32[] get-tuple-element(%arg_tuple.3), index=0
  %get-tuple-element.11 = s32[] get-tuple-element(%arg_tuple.3), index=2
  ROOT %wrapped_compare = pred[] fusion(%get-tuple-element.9, %get-tuple-element.11), kind=kLoop, calls=%compare
}

ENTRY %main.3 (x.1: f32[64,64]) -> f32[64,64] {
  %constant_3 = s32[] constant(0)
  %x.1 = f32[64,64]{1,0} parameter(0), sharding={devices=[4,1]<=[4]}
  %conv = (f32[64,64]{1,0}, u8[0]{0}) custom-call(%x.1), custom_call_target="__cudnn$convForward"
  %gte = f32[64,64]{1,0} get-tuple-element(%conv), index=0
  %bitcast.1 = s32[] bitcast(%constant_3)
  %tuple = (s32[], f32[64,64]{1,0}, s32[]) tuple(%constant_3, %gte, %bitcast.1)
  %while.5 = (s32[], f32[64,64]{1,0}, s32[]) while(%tuple), condition=%condition, body=%body, metadata={op_name="jit(f)/while"}KNOWN
  ROOT %while.7 = f32[64,64]{1,0} get-tuple-element(%while.5), index=1
}
"""  # noqa: E501
KNOWN = ', backend_config={"known_trip_count":{"n":"7"},"known_init_step":{"init":"0","step":"1"}}'
SQUARE = 4 * 64 * 64


def text_of(function, *inputs):
    return jax.jit(function).lower(*inputs).compile().as_text()


def test_kernels_of_a_gpu_program_whose_turns_nobody_knows():
    block = blocks(parse(GPU.replace("KNOWN", "")))
    assert [kernel.opcode for kernel in block.own] == ["custom-call"]
    assert block.kernels == 1
    assert block.bytes == 2 * SQUARE
    ((loop, entered),) = block.open_loops()
    assert (loop.trips, entered, loop.turn.kernels) == (None, 1, 4)
    # the number that counts, in and out; the product of a square by itself; a copy; the comparison
    assert loop.turn.bytes == 8 + 3 * SQUARE + 2 * SQUARE + 9
    assert loop.scope == "jit(f)/while"


def test_turns_that_the_compiler_knows_are_counted():
    block = blocks(parse(GPU.replace("KNOWN", KNOWN)))
    assert block.loops[0].trips == 7
    assert block.kernels == 1 + 7 * 4
    assert list(block.open_loops()) == []


def test_the_loop_of_a_part_of_the_traced_program():
    block = blocks(parse(GPU.replace("KNOWN", "")))
    assert isinstance(block.loop_of("batch_loss"), Loop)
    assert block.loop_of("batch_loss") is block.loops[0]
    assert block.loop_of("evaluate") is None
    assert block.loop_of("jit(f)/while") is block.loops[0]  # as its own kernels have it


@pytest.mark.parametrize("turns", [3, 5])
def test_nested_loops_of_this_machine(turns):
    def nested(x):
        def outer(_, x):
            return jax.lax.while_loop(lambda x: jnp.sum(x) < 100, lambda x: jnp.sin(x @ x), x)

        return jax.lax.fori_loop(0, turns, outer, x)

    block = blocks(parse(text_of(nested, jnp.ones((9, 9)))))
    ((loop, entered),) = block.open_loops()
    assert entered == turns
    assert loop.turn.kernels >= 1
    assert [loop.trips for loop in block.every_loop()] == [turns, None]


def test_the_longer_branch_of_a_condition_counts():
    def branches(flag, x):
        def many(x):
            for _ in range(5):
                x = jnp.linalg.qr(x)[0]
            return x

        return jax.lax.cond(flag, many, lambda x: x, x)

    x = jnp.ones((4, 4))
    both = blocks(parse(text_of(branches, True, x))).kernels
    one = blocks(parse(text_of(lambda flag, x: jax.lax.cond(flag, jnp.sin, jnp.cos, x), True, x)))
    assert both >= 5 > one.kernels


IN_PART = """
%read (param_0: f32[1000,8], param_1: s32[]) -> f32[1,8] {
  %param_0 = f32[1000,8]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %part = f32[1,8]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,8}
}

%write (param_0: f32[1000,8], param_1: f32[1,8], param_2: s32[]) -> f32[1000,8] {
  %param_0 = f32[1000,8]{1,0} parameter(0)
  %param_1 = f32[1,8]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %new = f32[1000,8]{1,0} dynamic-update-slice(%param_0, %param_1, %param_2, %zero)
}

ENTRY %main (x: f32[1000,8], i: s32[]) -> f32[1000,8] {
  %x = f32[1000,8]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %row = f32[1,8]{1,0} fusion(%x, %i), kind=kLoop, calls=%read
  ROOT %y = f32[1000,8]{1,0} fusion(%x, %row, %i), kind=kLoop, calls=%write
}
"""


def test_of_what_is_read_or_written_in_part_only_the_part_counts():
    read, write = blocks(parse(IN_PART)).own
    assert read.bytes == 32 + 4 + 32
    assert write.bytes == 32 + 4 + 32


TPU = """
ENTRY %main (x: f32[8,128], n: u32[]) -> f32[8,128] {
  %x = f32[8,128]{1,0:T(8,128)} parameter(0)
  %n = u32[]{:T(128)} parameter(1)
  %add.1 = u32[]{:T(128)} add(%n, %n)
  %copy-start = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x), cross_program_prefetch_index=0
  %copy-done = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %buffer = f32[8,128]{1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %sine = f32[8,128]{1,0:T(8,128)} sine(%copy-done)
}
"""  # noqa: E501


def test_numbers_that_a_tpu_works_out_beside_its_kernels_are_none():
    kernels = blocks(parse(TPU)).own
    assert [kernel.opcode for kernel in kernels] == ["copy-start", "sine"]
    assert [kernel.bytes for kernel in kernels] == [2 * 4096, 2 * 4096]


def test_bytes_of_shapes():
    assert shape_bytes("f32[2,3]{1,0:T(8,128)}") == 24
    assert shape_bytes("(pred[], bf16[5], /*index=2*/u8[0]{0}, token[])") == 11
    assert shape_bytes("f8e4m3fn[3]") == 3
    assert shape_bytes("s4[6]") == 6


def test_a_callback_is_found_and_a_plain_program_has_nothing():
    def asks(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x) + 1

    x = jnp.ones(3)
    (line,) = offences(parse(text_of(asks, x)))
    assert line.startswith("host callback: %")
    assert "pure_callback" in line
    assert offences(parse(text_of(jnp.sin, x))) == []
    assert offences(parse(GPU)) == []  # a sharding's <= is no dynamic shape


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("%a = f64[2]{0} exponential(%p)", "float64"),
        ("%a = (f32[], c128[2]{0}) custom-call(%p), custom_call_target=\"f\"", "float64"),
        ("%a = f32[<=10]{0} custom-call(%p), custom_call_target=\"f\"", "dynamic shape"),
        ("%a = f32[10]{0} custom-call(%p), custom_call_target=\"SliceToDynamic\"", "dynamic shape"),
        ("%a = f32[2] custom-call(%p), custom_call_target=\"xla_ffi_python_gpu_callback\"", "host"),
        ("%a = (f32[2], token[]) infeed(%p)", "host callback"),
        ("%a = token[] send-done(%p), is_host_transfer=true", "host callback"),
    ],
)  # fmt: skip
def test_each_offence_is_found(line, what):
    text = (
        f"ENTRY %main (p: f32[2]) -> f32[2] {{\n  %p = f32[2]{{0}} parameter(0)\n  ROOT {line}\n}}"
    )
    (found,) = offences(parse(text))
    assert found.startswith(what)
    assert "%a = " in found


def test_a_text_that_is_no_program():
    with pytest.raises(ValueError, match="no entry computation"):
        parse("HloModule nothing\n")
