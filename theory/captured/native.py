"""Machine code for scalar expressions: a function of many points, through LLVM, which numba brings along.

`void f(const double *in, double *out, int64 count)`: per point `stride` numbers in, len(outputs) numbers out. Constant
entries are written as well, so the caller need not clear the memory. Values are those of the same operations in
double precision, one after the other; a product followed by a sum may be one rounding.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

from theory.captured.scalars import COMPARISONS, Graph, Symbol

_INTRINSIC = {"exp", "log", "sin", "cos", "sqrt", "floor", "ceil"}
_MANY = 16  # entries from which constants are copied as one block
_PREDICATES = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Compiled:
    """Machine code and the addresses of its functions, alive as long as this object."""

    address: dict[str, Any]

    def __init__(self, engine: Any, names: Sequence[str]) -> None:
        self._engine = engine
        self.address = {name: engine.get_function_address(name) for name in names}

    def call(self, name: str, inputs: Any, outputs: Any) -> None:
        """Run function `name` on contiguous float64 arrays inputs[count, stride] and outputs[count, …]."""
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        kind(self.address[name])(inputs.ctypes.data, outputs.ctypes.data, len(inputs))


def compile_graph(functions: dict[str, tuple[Graph, Sequence[Any], int, int]]) -> Compiled:
    """Each name: (graph, outputs, stride, offset): input k of the graph is number offset + k of a point."""
    import llvmlite.binding as llvm
    import llvmlite.ir as ir
    from numba.core import config as numba_config  # which sets LLVM up, and makes libm's functions known to it

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # for the processor that numba compiles for: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or this one
    config: Any = numba_config  # its settings are set by name, which a type checker does not see
    features = llvm.get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=config.CPU_NAME or llvm.get_host_cpu_name(), features=features, opt=2, jit=True
    )
    module = ir.Module("captured")
    module.triple = machine.triple
    for name, (graph, outputs, stride, offset) in functions.items():
        _emit(ir, module, name, graph, outputs, stride, offset)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return Compiled(engine, list(functions))


def _emit(ir: Any, module: Any, name: str, graph: Graph, outputs: Sequence[Any], stride: int, offset: int) -> None:
    double, integer, boolean = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
    pointer = double.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, integer]), name)
    source, target, count = function.args
    for argument in (source, target):
        argument.add_attribute("noalias")  # pyright: ignore
    head, body, done = (function.append_basic_block(label) for label in ("head", "body", "done"))
    b = ir.IRBuilder(head)
    b.cbranch(b.icmp_signed(">", count, integer(0)), body, done)
    b.position_at_end(body)
    k = b.phi(integer)
    k.add_incoming(integer(0), head)
    here = b.gep(source, [b.mul(k, integer(stride))])
    there = b.gep(target, [b.mul(k, integer(len(outputs)))])
    known: dict[int, Any] = {}

    def constant(value: Any) -> Any:
        if isinstance(value, bool):
            return boolean(value)
        return ir.Constant(double, float(value)) if value == value else _nan(ir, b, double)

    def argument(key: tuple[str, Any]) -> Any:
        kind, value = key
        return known[value] if kind == "s" else constant(value)

    def call(name: str, *values: Any) -> Any:
        return b.call(_external(ir, module, name, len(values)), values)

    for index in sorted(graph.needed(outputs)):
        op, *keys = graph.nodes[index]
        if op == "input":
            known[index] = b.load(b.gep(here, [integer(offset + keys[0])]))
            continue
        v = [argument(key) for key in keys]
        match op:
            case "add":
                value = b.fadd(*v, flags=("contract",))
            case "sub":
                value = b.fsub(*v, flags=("contract",))
            case "mul":
                value = b.fmul(*v, flags=("contract",))
            case "div":
                value = b.fdiv(*v)
            case "neg":
                value = b.fneg(*v)
            case "stop":
                value = v[0]
            case "where":
                value = b.select(*v)
            case "not":
                value = b.not_(*v)
            case "and":
                value = b.and_(*v)
            case "or":
                value = b.or_(*v)
            case "abs":
                value = call("llvm.fabs.f64", *v)
            case "pow":
                value = call("llvm.pow.f64", *v)
            case _ if op in COMPARISONS:
                ordered = b.fcmp_unordered if op == "ne" else b.fcmp_ordered
                value = ordered(_PREDICATES[op], *v)
            case _:
                value = call(f"llvm.{op}.f64" if op in _INTRINSIC else op, *v)
        known[index] = value
    whole = len(outputs) > _MANY and not all(isinstance(output, Symbol) for output in outputs)
    if whole:
        fixed = [0.0 if isinstance(output, Symbol) else float(output) for output in outputs]
        array = ir.ArrayType(double, len(fixed))
        template = ir.GlobalVariable(module, array, f"{name}_constants")
        template.global_constant, template.linkage = True, "internal"
        template.initializer = ir.Constant(array, [ir.Constant(double, value) for value in fixed])
        byte = ir.IntType(8).as_pointer()
        copy = module.declare_intrinsic("llvm.memcpy", [byte, byte, integer])
        size = integer(8 * len(fixed))
        b.call(copy, [b.bitcast(there, byte), b.bitcast(template, byte), size, boolean(0)])
    for position, output in enumerate(outputs):
        if isinstance(output, Symbol) or not whole:
            value = known[output.index] if isinstance(output, Symbol) else constant(float(output))
            b.store(value, b.gep(there, [integer(position)]))
    following = b.add(k, integer(1))
    k.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, count), body, done)
    b.position_at_end(done)
    b.ret_void()


def _external(ir: Any, module: Any, name: str, arguments: int) -> Any:
    if name in module.globals:
        return module.globals[name]
    double = ir.DoubleType()
    return ir.Function(module, ir.FunctionType(double, [double] * arguments), name)


def _nan(ir: Any, b: Any, double: Any) -> Any:
    (bits,) = struct.unpack("<q", struct.pack("<d", float("nan")))
    return b.bitcast(ir.Constant(ir.IntType(64), bits), double)
