# Sourced by scripts/compose and scripts/generate: how programs are built that are compiled for a model.
#
#   CALM_BUILD_TYPE=Debug    CMake's build type of these programs (default: Release)
#   CALM_TOOLS=dir           where calm-spec and calm-pair are built already (default: they are built in build/programs)

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What building them takes; tests and benchmarks need more.
packages=(g++ cmake ninja-build ccache libboost-dev nlohmann-json3-dev libssl-dev libcli11-dev
  libpcre2-dev libutf8proc-dev)

# Threads that wait do not spin: on a busy machine small models would be many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

fail() {
  printf '%s: %s\n' "$0" "$*" >&2
  exit 1
}

install_what_is_needed() {
  command -v dpkg-query >/dev/null || return 0
  [ -z "$(missing_packages "${packages[@]}")" ] || install_missing >&2
}

# logged <file> <what> <command...>: what the command says goes to the file, and to the terminal only if it fails.
logged() {
  local log=$1 what=$2
  shift 2
  "$@" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "$what failed; the whole of it is in $log"
  }
}

# build <source> <build folder> <target> <cmake's arguments...>: configures where that was not done, and builds.
build() {
  local source=$1 folder=$2 target=$3
  shift 3
  mkdir -p "$folder"
  if [ ! -e "$folder/CMakeCache.txt" ] || [ "$*" != "$(cat "$folder/arguments" 2>/dev/null)" ]; then
    local options=(-DCMAKE_BUILD_TYPE="${CALM_BUILD_TYPE:-Release}")
    ! command -v ninja >/dev/null || [ -e "$folder/CMakeCache.txt" ] || options+=(-G Ninja)
    ! command -v ccache >/dev/null || options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    logged "$folder/configure.log" "configuring $target" cmake -S "$source" -B "$folder" "${options[@]}" "$@"
    printf '%s' "$*" >"$folder/arguments"
  fi
  logged "$folder/build.log" "building $target" cmake --build "$folder" --parallel "$jobs" --target "$target"
}

# tool <name>: builds one of calm's own programs where it is not there, and sets $tool to its path.
tool() {
  tool=${CALM_TOOLS:-$root/build/programs/tools}/$1
  [ -z "${CALM_TOOLS:-}" ] || return 0
  build "$root" "$root/build/programs" "$1" -DCALM_BUILD_TESTS=OFF -DCALM_BUILD_EXAMPLES=OFF -DCALM_BUILD_BENCH=OFF \
    -DCALM_VERIFY_HEADERS=OFF -DCALM_NATIVE=OFF
}
