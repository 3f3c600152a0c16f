# Sourced by the scripts beside it: where the project is, how to say things, and how to install what is missing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}

packages=(g++ cmake ninja-build ccache libeigen3-dev libboost-dev nlohmann-json3-dev libssl-dev libcli11-dev libfmt-dev
  catch2 libbenchmark-dev libpcre2-dev libutf8proc-dev)

say() { printf '\n== %s\n' "$*"; }

# Prints those of its arguments that are no installed Debian packages.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      printf '%s\n' "$package"
  done
}

# Installs the packages that are missing; where that takes rights that we lack, says what to ask for.
install_missing() {
  if ! command -v apt-get >/dev/null; then
    say "No apt-get here. What is needed, by Debian's names: ${packages[*]}"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "${packages[@]}")
  if [ ${#missing[@]} -eq 0 ]; then
    say "All packages are installed"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
    if ! command -v sudo >/dev/null || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
      say "Packages are missing, and installing them takes rights that this user lacks. Please have this run as root:"
      printf 'apt-get install -y --no-install-recommends %s\n' "${missing[*]}"
      exit 1
    fi
  fi
  say "Installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
