// A device in the computer's own memory. The CPU's kernels compute on it, its tensors do not mix with those of the CPU,
// and it counts whatever would make a program wait for a GPU. See second_device.py.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <array>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>

namespace {

using at::IntArrayRef;
using at::Tensor;

constexpr auto TYPE = c10::DeviceType::PrivateUse1;
const c10::Device DEVICE(TYPE, 0);

int64_t reads = 0, to_cpu = 0, from_cpu = 0;
bool trapped = false;

void waits(const std::string& what) {
  TORCH_CHECK(!trapped, "waits for the device: ", what);
}

// Memory, streams, generator: those of the CPU.

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* memory = c10::alloc_cpu(n);
    return {memory, memory, &c10::free_cpu, DEVICE};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, std::size_t n) const override { std::memcpy(to, from, n); }
};
Allocator allocator;
REGISTER_ALLOCATOR(TYPE, &allocator);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = TYPE;
  static c10::Stream only() { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::DeviceType type() const override { return TYPE; }
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  c10::Device getDevice() const override { return DEVICE; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const noexcept override { return only(); }
  c10::Stream getDefaultStream(c10::Device) const override { return only(); }
  c10::Stream getNewStream(c10::Device, int = 0) const override { return only(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return only(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
  at::Device getDeviceFromPtr(void*) const override { return DEVICE; }
};
const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

// A view of a tensor's memory as a tensor of the CPU, and a copy of one on the device.

Tensor as_cpu(const Tensor& t) {
  auto options = t.options().device(at::kCPU).requires_grad(false);
  return at::from_blob(t.data_ptr(), t.sizes(), t.strides(), [keep = t](void*) {}, options);
}
std::optional<Tensor> as_cpu(const std::optional<Tensor>& t) {
  return t.has_value() && t->defined() ? std::make_optional(as_cpu(*t)) : std::nullopt;
}
Tensor to_device(const Tensor& t) {
  return t.defined() ? t.to(DEVICE) : t;
}

// Keeps from being counted, as long as it lives, what the device itself copies in order to compute.
struct Uncounted {
  bool before = std::exchange(trapped, false);
  int64_t to = to_cpu, from = from_cpu;
  ~Uncounted() { trapped = before, to_cpu = to, from_cpu = from; }
};

// Operators that cannot go through the CPU's.

Tensor empty(
    IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(
      size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype), format);
}
Tensor empty_strided(
    IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}
Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  if (!from.is_cpu() && to.is_cpu()) {
    to_cpu++;
    waits("a copy to the CPU");
  }
  if (from.is_cpu() && !to.is_cpu()) from_cpu++;
  Tensor target = to.is_cpu() ? to : as_cpu(to);
  target.copy_(from.is_cpu() ? from : as_cpu(from));
  return to;
}
Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}
at::Scalar item(const Tensor& t) {
  reads++;
  waits(".item()");
  return as_cpu(t).item();
}
Tensor& set_source(Tensor& result, at::Storage source, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  auto* impl = result.unsafeGetTensorImpl();
  impl->set_storage_offset(offset);
  impl->set_storage_keep_dtype(source);
  impl->set_sizes_and_strides(size, stride);
  return result;
}
const Tensor& resize_(const Tensor& t, IntArrayRef size, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(t, size, format);
}
Tensor view(const Tensor& t, IntArrayRef size) { return at::native::view(t, size); }
Tensor as_strided(const Tensor& t, IntArrayRef size, IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(t, size, stride, offset);
}
Tensor reshape_alias(const Tensor& t, IntArrayRef size, IntArrayRef stride) {
  return at::native::_reshape_alias(t, size, stride);
}
Tensor unfold(const Tensor& t, int64_t dimension, int64_t size, int64_t step) {
  return at::native::unfold(t, dimension, size, step);
}
Tensor convolution(
    const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, IntArrayRef stride,
    IntArrayRef padding, IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups) {
  TORCH_CHECK(
      input.device() == weight.device(), "on different devices: convolution of ", input.device(), " and ",
      weight.device());
  Uncounted copies;
  return to_device(at::convolution(
      as_cpu(input), as_cpu(weight), as_cpu(bias), stride, padding, dilation, transposed, output_padding, groups));
}
std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& gradient, const Tensor& input, const Tensor& weight, IntArrayRef stride, IntArrayRef padding,
    IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups, std::array<bool, 3> mask) {
  Uncounted copies;
  const int64_t outputs[] = {weight.size(transposed ? 1 : 0)};
  auto [of_input, of_weight, of_bias] = at::convolution_backward(
      as_cpu(gradient), as_cpu(input), as_cpu(weight), at::OptionalIntArrayRef(IntArrayRef(outputs)), stride, padding,
      dilation, transposed, output_padding, groups, mask);
  return {to_device(of_input), to_device(of_weight), to_device(of_bias)};
}

// The fallback would not copy the running statistics back, which this operator changes unannounced.
std::tuple<Tensor, Tensor, Tensor> native_batch_norm(
    const Tensor& input, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& mean, const std::optional<Tensor>& variance, bool training, double momentum,
    double eps) {
  Uncounted copies;
  auto [output, of_mean, of_variance] = at::native_batch_norm(
      as_cpu(input), as_cpu(weight), as_cpu(bias), as_cpu(mean), as_cpu(variance), training, momentum, eps);
  return {to_device(output), to_device(of_mean), to_device(of_variance)};
}

// All others: copied to the CPU, computed there, copied back. As on a GPU, a tensor of no dimensions may come from the
// CPU, and so may the positions of an index.

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.schema().name();
  const bool is_index = name == "aten::index" || name == "aten::index_put_" || name == "aten::_index_put_impl_";
  bool on_device = false, on_cpu = false;
  auto look = [&](const Tensor& t) {
    if (!t.defined()) return;
    if (!t.is_cpu()) on_device = true;
    else if (t.dim() > 0) on_cpu = true;
  };
  for (const auto& argument : torch::jit::last(stack, op.schema().arguments().size())) {
    if (argument.isTensor()) {
      look(argument.toTensor());
    } else if (argument.isTensorList()) {
      for (const auto& t : argument.toTensorVector()) look(t);
    } else if (argument.isOptionalTensorList() && !is_index) {
      for (const auto& t : argument.toOptionalTensorVector())
        if (t.has_value()) look(*t);
    }
  }
  TORCH_CHECK(!(on_device && on_cpu), "on different devices: ", name, " of tensors on the device and on the CPU");
  if (name == "aten::nonzero" || name == "aten::masked_select") {
    reads++;
    waits(name);
  }
  Uncounted copies;
  at::native::cpu_fallback(op, stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &item);
  m.impl("set_.source_Storage_storage_offset", &set_source);
  m.impl("resize_", &resize_);
  m.impl("view", &view);
  m.impl("as_strided", &as_strided);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("unfold", &unfold);
  m.impl("native_batch_norm", &native_batch_norm);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}
TORCH_LIBRARY_IMPL(_, AutogradPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}
TORCH_LIBRARY(second_device, m) {
  m.def("counts() -> int[]", [] { return std::vector<int64_t>{reads, to_cpu, from_cpu}; });
  m.def("trap(bool on) -> ()", [](bool on) { trapped = on; });
}
