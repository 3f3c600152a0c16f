/// \file  Modules and files: the parameters of a module in a safetensors file, and the digest that names them.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/io/safetensors.hpp"
#include "calm/io/sha256.hpp"
#include "calm/nn/module.hpp"

namespace calm::io {

/// SHA-256 over every parameter in the order of `visit`: path, dtype, extents, bytes; numbers are 64 bits, little
/// endian, and stand in front of what they count. Two modules with the same digest have the same parameters, bit for
/// bit. Throws `Error` if a parameter has no memory.
template <class M>
std::string weights_sha256(M& module) {
  Sha256 digest;
  nn::for_each_parameter(module, [&](const std::string& path, auto& parameter) {
    const auto& x = parameter.value();
    using T = typename std::remove_cvref_t<decltype(x)>::value_type;
    calm::detail::require(x.defined(), [&] {
      return "calm::io::weights_sha256: parameter " + path + " has no memory; initialise or load it first";
    });
    detail::update_tensor(digest, path, dtype_name<T>, x.shape().extents(), on_host(x).data(), x.size() * sizeof(T));
  });
  return digest.hex();
}

/// Writes every parameter of `module` under its path, whole or not at all, with a digest of them. Throws `Error`.
template <class M>
void save_module(M& module, const std::string& path, const SafetensorsMetadata& metadata = {}) {
  SafetensorsWriter writer;
  for (const auto& [key, value] : metadata) {
    // A file's own may be passed on: one is always there, the other is made anew.
    if ((key != "format" || value != "pt") && key != detail::digest_key) writer.set_metadata(key, value);
  }
  nn::for_each_parameter(module, [&](const std::string& name, auto& p) { writer.add(name, on_host(p.value())); });
  writer.add_digest();
  writer.save(path);
}

/// How a module is loaded.
struct LoadOptions {
  std::string prefix{};       ///< stands before each path in the file, e.g. "model."
  bool allow_unused = false;  ///< allow tensors (of that prefix) that the module lacks: it is a part of what was saved
  Conversion conversion = Conversion::refuse;  ///< whether other floating types are converted
};

namespace detail {

/// Loads the parameters that `Wanted<P>` picks; all is checked before the first is assigned.
template <template <class> class Wanted, class M>
void load_parameters(M& module, const std::string& path, const LoadOptions& options) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto for_each = [&](auto&& f) {
    nn::for_each_parameter(module, [&](const std::string& name, auto& parameter) {
      if constexpr (Wanted<std::remove_cvref_t<decltype(parameter)>>::value) f(options.prefix + name, parameter);
    });
  };
  std::set<std::string, std::less<>> used;
  for_each([&](const std::string& name, auto& parameter) {
    file.check<typename std::remove_cvref_t<decltype(parameter)>::tensor_type>(name, options.conversion);
    used.insert(name);
  });
  if (!options.allow_unused) {
    for (const std::string& name : file.names()) {
      calm::detail::require(!name.starts_with(options.prefix) || used.contains(name), [&] {
        return "calm::io::load_module: " + path + ": tensor " + in_quotes(name) +
               " has no place in the module; allow unused tensors if the module is a part of what was saved";
      });
    }
  }
  file.check_digest();
  for_each([&](const std::string& name, auto& parameter) {
    using P = std::remove_cvref_t<decltype(parameter)>;
    using X = typename P::tensor_type;
    auto x = move_to<typename X::device>(file.load<OnDevice<X, Cpu>>(name, options.conversion));
    if constexpr (P::trainable)
      parameter.assign(x.clone());  // mapped memory is read-only
    else
      parameter.assign(std::move(x));
  });
  nn::settle(module);
}

template <class P>
using Any = std::true_type;
template <class P>
using IsFrozen = std::bool_constant<!P::trainable>;

}  // namespace detail

/// Loads every parameter of `module` from the tensor of its path. Frozen ones share the mapped file, trainable ones get
/// memory of their own. Throws `Error`, and changes nothing, if a tensor is missing, has another shape or dtype, or has
/// no place in the module (see `LoadOptions`), and if the file is not as `save_module` wrote it.
template <class M>
void load_module(M& module, const std::string& path, const LoadOptions& options = {}) {
  detail::load_parameters<detail::Any>(module, path, options);
}

/// As `load_module`, the frozen parameters alone: a base whose module also has trainable parts (LoRA) that the file
/// lacks.
template <class M>
void load_frozen(M& module, const std::string& path, const LoadOptions& options = {}) {
  detail::load_parameters<detail::IsFrozen>(module, path, options);
}

}  // namespace calm::io
