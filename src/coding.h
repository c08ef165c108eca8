/* Entries of a table that several threads look at, and mark, all in the same way; bits of a word. */
#ifndef SMOOTHL1_CODING_H
#define SMOOTHL1_CODING_H

#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
  #define SMOOTHL1_SEEN(entry) __atomic_load_n(entry, __ATOMIC_RELAXED)
  #define SMOOTHL1_MARK(entry, value) __atomic_store_n(entry, value, __ATOMIC_RELAXED)
  #define SMOOTHL1_BITS(word) __builtin_popcountll(word)
#else
  #define SMOOTHL1_SEEN(entry) (*(volatile int32_t *)(entry))
  #define SMOOTHL1_MARK(entry, value) (*(volatile int32_t *)(entry) = (value))
  #define SMOOTHL1_BITS(word) smoothl1_bits_of(word)
static int smoothl1_bits_of(uint64_t word) {
    word -= word >> 1 & 0x5555555555555555;
    word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F;
    return (int)(word * 0x0101010101010101 >> 56);
}
#endif

#endif
