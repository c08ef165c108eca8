/* Entries of a table that several threads look at, and mark, all in the same way. */
#ifndef SMOOTHL1_CODING_H
#define SMOOTHL1_CODING_H

#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
  #define SMOOTHL1_SEEN(entry) __atomic_load_n(entry, __ATOMIC_RELAXED)
  #define SMOOTHL1_MARK(entry, value) __atomic_store_n(entry, value, __ATOMIC_RELAXED)
#else
  #define SMOOTHL1_SEEN(entry) (*(volatile int32_t *)(entry))
  #define SMOOTHL1_MARK(entry, value) (*(volatile int32_t *)(entry) = (value))
#endif

#endif
