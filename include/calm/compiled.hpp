/// \file  Header-only or compiled: whether this program has definitions of its own of what depends on no user's type.
///
/// Such definitions stand in files `x.ipp` beside `x.hpp`. By default each header includes its own; a program that
/// links `calm::compiled`, which defines CALM_COMPILED, finds them in that library and does not read them.
#pragma once

#ifdef CALM_COMPILED
#define CALM_INLINE
#ifndef CALM_EXTERN
#define CALM_EXTERN extern  // the library, which instantiates kernels for all types of elements, makes it nothing
#endif
#else
#define CALM_INLINE inline
#endif
