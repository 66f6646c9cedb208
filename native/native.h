/* What the two halves share: plain C11, nothing of the system but memcpy and memset, the same results everywhere. */
#ifndef NATIVE_H
#define NATIVE_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "little-endian machines only"
#endif

#define memcpy __builtin_memcpy /* without the headers of one C library, so that any will do */
#define memset __builtin_memset

#define EXPORT __attribute__((visibility("default")))

static inline uint64_t load64(const void *from)
{
    uint64_t value;
    memcpy(&value, from, 8);
    return value;
}

static inline uint32_t load32(const void *from)
{
    uint32_t value;
    memcpy(&value, from, 4);
    return value;
}

static inline void store64(void *to, uint64_t value)
{
    memcpy(to, &value, 8);
}

static inline unsigned top_bit(uint32_t value) /* of a value that is not 0 */
{
    return 31 - (unsigned)__builtin_clz(value);
}

static const uint16_t length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                       31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t length_extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                       2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t distance_base[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                         33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                         1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t distance_extra[] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                         6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
static const uint8_t lengths_order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

#endif
