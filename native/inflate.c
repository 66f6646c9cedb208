/* Strict inflate (RFC 1951) that can stop at every block, and at every byte of its output.
 *
 * Strict: what zlib refuses is refused: incomplete and over-subscribed codes, too many symbols, no end-of-block code,
 * codes without a meaning, distances too far back. Other fast decoders are lenient in some of it, which is harmless
 * until a block is copied to where somebody else reads it.
 *
 * Between calls the position is in front of a whole symbol, block header or stored byte, so that what has been read up
 * to it does not depend on how input and output were cut. A match that does not fit into the output is therefore not
 * taken from the input; `match_made` counts its bytes that are there already.
 *
 * Memory: `in` is read within [in, in + in_bytes), `out` written within [out, out + out_bytes), and a match reaches
 * back `history` bytes before `out` at most. The fast loop runs only where a whole turn of it stays within these.
 */
#include "native.h"

enum { OUT_FULL, NEED_INPUT, BLOCK, END_OF_STREAM, GO_ON }; /* what a call ends with, or one of these: */
enum {
    BAD_BLOCK_TYPE = -1,
    BAD_STORED_SIZE = -2,
    BAD_COUNTS = -3,
    BAD_LENGTHS_CODE = -4,
    BAD_REPEAT = -5,
    NO_END_CODE = -6,
    BAD_LITERALS_CODE = -7,
    BAD_DISTANCES_CODE = -8,
    BAD_CODE = -9,
    BAD_DISTANCE = -10
};
enum { STOP_NOWHERE, STOP_AT_COPYABLE, STOP_AT_OTHERS }; /* in front of which blocks to stop */

struct call {
    const uint8_t *in;     /* what is left unused has to be given again, with more behind it */
    uint64_t in_bytes;
    uint8_t *out;
    uint64_t out_bytes;
    uint64_t whole_bytes;  /* a stored block that is longer than this, counted from `out`, cannot be copied whole */
    uint32_t history;      /* bytes before `out` that matches may reach back to, at most 32768 */
    uint32_t stop;
    uint64_t in_used;      /* result: whole bytes read */
    uint64_t out_made;     /* result: bytes written */
    uint32_t bit;          /* position within the next byte, 0 to 7: result, and where the next call begins */
    uint32_t match_made;   /* result: bytes at the end of the output that come from the symbol at the position */
    uint32_t end_code;     /* result: the end-of-block code of the block at hand, first bit lowest */
    uint32_t end_bits;     /* result: its length; 0 outside of coded blocks */
};

enum { LITERAL_BITS = 11, DISTANCE_BITS = 8, LENGTHS_BITS = 7 };
enum { LITERAL_ENTRIES = 2342, DISTANCE_ENTRIES = 402 }; /* zlib's `enough 288 11 15` and `enough 32 8 15` */
enum { LITERALS = 286, DISTANCES = 30, LONGEST_CODE = 15 };
enum { FAST_IN = 32, FAST_OUT = 320 }; /* what one turn of the fast loop may read and write, rounded up */

enum { BETWEEN, STORED, CODED }; /* where the position is: in front of a block header, or inside of a block */

struct state {
    struct call call;
    uint32_t place, final_block, stored_left, has_fixed_tables;
    uint32_t literals[LITERAL_ENTRIES];
    uint32_t distances[DISTANCE_ENTRIES];
};

struct bits {
    const uint8_t *in, *in_end;
    uint64_t buffer;
    uint32_t left; /* bits in the buffer; those above them are 0 */
};

/* Entries of the decoding tables. The lowest byte is the number of bits to take, extra bits among them.
 * LITERAL: the literal in bits 8 to 15; with PAIR a second one in 16 to 23, and the first one's bits in 24 to 27.
 * A length or distance: its base in bits 16 to 30, the bits of its code alone in 8 to 11.
 * SPECIAL | SUBTABLE: index of the subtable in bits 16 to 28, its size in bits in 8 to 11.
 * SPECIAL | END: end of block. SPECIAL alone: a code without a meaning. */
#define LITERAL (1u << 31)
#define PAIR (1u << 30)
#define SPECIAL (1u << 15)
#define SUBTABLE (1u << 14)
#define END (1u << 13)

static inline unsigned size_of(uint32_t entry)
{
    return entry & 0xff;
}

static inline unsigned low(uint64_t bits, unsigned count)
{
    return (unsigned)(bits & ((1u << count) - 1));
}

static inline uint32_t literal_entry(unsigned symbol, unsigned bits)
{
    if (symbol < 256)
        return LITERAL | symbol << 8 | bits;
    if (symbol == 256)
        return SPECIAL | END | bits;
    if (symbol >= LITERALS) /* 286 and 287 have codes in fixed blocks, and no meaning */
        return SPECIAL | bits;
    return (uint32_t)length_base[symbol - 257] << 16 | bits << 8 | (bits + length_extra[symbol - 257]);
}

static inline uint32_t distance_entry(unsigned symbol, unsigned bits)
{
    if (symbol >= DISTANCES)
        return SPECIAL | bits;
    return (uint32_t)distance_base[symbol] << 16 | bits << 8 | (bits + distance_extra[symbol]);
}

static inline uint32_t length_entry(unsigned symbol, unsigned bits)
{
    return symbol << 16 | bits;
}

/* The code after `code` in ascending order, first bit lowest, among those of as many bits as `ones` has. */
static inline unsigned next_code(unsigned code, unsigned ones)
{
    unsigned zero = 1u << top_bit(code ^ ones);
    return (code & (zero - 1)) | zero;
}

/* Fill `table` from the lengths of the codes of `count` symbols; 0 for lengths that zlib refuses. Incomplete codes
 * may_be: without symbols, or of one symbol with one bit. */
static inline __attribute__((always_inline)) int build(uint32_t *table, unsigned table_bits, const uint8_t *lengths,
                                                       unsigned count, int may_be_incomplete,
                                                       uint32_t (*entry)(unsigned, unsigned))
{
    uint16_t sorted[288], counts[LONGEST_CODE + 1] = {0}, place[LONGEST_CODE + 1];
    for (unsigned i = 0; i < count; i++)
        counts[lengths[i]]++;
    int left = 1;
    place[0] = 0; /* symbols without a code go in front, and are passed over */
    for (unsigned bits = 1; bits <= LONGEST_CODE; bits++) {
        if ((left = left * 2 - counts[bits]) < 0)
            return 0;
        place[bits] = (uint16_t)(place[bits - 1] + counts[bits - 1]);
    }
    for (unsigned i = 0; i < count; i++)
        sorted[place[lengths[i]]++] = (uint16_t)i;
    const uint16_t *symbol = sorted + counts[0];
    if (left) {
        unsigned only = count - counts[0];
        if (!may_be_incomplete || only > 1 || (only && lengths[*symbol] != 1))
            return 0;
        for (unsigned i = 0; i < 1u << table_bits; i++)
            table[i] = only && !(i & 1) ? entry(*symbol, 1) : SPECIAL | 1;
        return 1;
    }
    /* The filled part of the table is repeated behind itself for each longer length. */
    unsigned bits = 1, code = 0, filled = 2;
    for (;; bits++, filled *= 2) {
        for (unsigned n = counts[bits]; n; n--) {
            table[code] = entry(*symbol++, bits);
            if (code == filled - 1) { /* the last one */
                for (; bits < table_bits; bits++, filled *= 2)
                    memcpy(table + filled, table, filled * sizeof *table);
                return 1;
            }
            code = next_code(code, filled - 1);
        }
        if (bits == table_bits)
            break;
        memcpy(table + filled, table, filled * sizeof *table);
    }
    unsigned end = filled, mask = filled - 1, prefix = ~0u, start = 0, n = 0;
    for (;; n--) {
        while (!n)
            n = counts[++bits];
        if ((code & mask) != prefix) { /* a subtable, large enough for all codes that begin so */
            unsigned more = bits - table_bits;
            for (unsigned used = n; used < 1u << more; used = used * 2 + counts[table_bits + more])
                more++;
            prefix = code & mask;
            start = end;
            end += 1u << more;
            table[prefix] = start << 16 | SPECIAL | SUBTABLE | more << 8 | table_bits;
        }
        uint32_t made = entry(*symbol++, bits - table_bits);
        for (unsigned i = start + (code >> table_bits); i < end; i += 1u << (bits - table_bits))
            table[i] = made;
        if (code == (1u << bits) - 1)
            return 1;
        code = next_code(code, (1u << bits) - 1);
    }
}

/* Let entries stand for two literals where both fit: worth its time where short ones are many. */
static void pair_literals(uint32_t *table, const uint8_t *lengths)
{
    unsigned often = 0; /* of 2048 symbols, the literals of five bits and fewer */
    for (unsigned i = 0; i < 256; i++)
        if (lengths[i] && lengths[i] <= LITERAL_BITS / 2)
            often += 1u << (LITERAL_BITS - lengths[i]);
    if (often < 512)
        return;
    for (unsigned i = (1u << LITERAL_BITS) - 1; i; i--) { /* downwards: what is looked up has not been changed yet */
        uint32_t first = table[i], second = table[i >> size_of(first)];
        if ((first & second & LITERAL) && size_of(first) + size_of(second) <= LITERAL_BITS)
            table[i] = (LITERAL | PAIR) | size_of(first) << 24 | (second & 0xff00) << 8 | (first & 0xff00) |
                       (size_of(first) + size_of(second));
    }
}

static void fill(struct bits *bits)
{
    while (bits->left <= 56 && bits->in < bits->in_end) {
        bits->buffer |= (uint64_t)*bits->in++ << bits->left;
        bits->left += 8;
    }
}

static inline int has(struct bits *bits, unsigned count)
{
    if (bits->left < count)
        fill(bits);
    return bits->left >= count;
}

static inline unsigned take(struct bits *bits, unsigned count)
{
    unsigned value = low(bits->buffer, count);
    bits->buffer >>= count;
    bits->left -= count;
    return value;
}

static int fixed_tables(struct state *s)
{
    uint8_t lengths[288];
    s->call.end_code = 0;
    s->call.end_bits = 7;
    if (s->has_fixed_tables) /* an empty block has 10 bits: making tables for each would take hours a GiB */
        return GO_ON;
    s->has_fixed_tables = 1;
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    build(s->literals, LITERAL_BITS, lengths, 288, 0, literal_entry);
    memset(lengths, 5, 32);
    build(s->distances, DISTANCE_BITS, lengths, 32, 0, distance_entry);
    return GO_ON;
}

static void keep_end_code(struct state *s, const uint8_t *lengths, unsigned count)
{
    unsigned code = 0, bits = lengths[256];
    for (unsigned i = 0; i < count; i++)
        if (lengths[i] && (lengths[i] < bits || (lengths[i] == bits && i < 256)))
            code += 1u << (bits - lengths[i]);
    s->call.end_code = 0;
    for (unsigned i = 0; i < bits; i++)
        s->call.end_code |= (code >> i & 1) << (bits - 1 - i);
    s->call.end_bits = bits;
}

static int dynamic_tables(struct state *s, struct bits *bits)
{
    uint8_t lengths[LITERALS + DISTANCES], lengths_lengths[19] = {0};
    uint32_t table[1 << LENGTHS_BITS];
    if (!has(bits, 14))
        return NEED_INPUT;
    unsigned literals = take(bits, 5) + 257, distances = take(bits, 5) + 1, given = take(bits, 4) + 4;
    if (literals > LITERALS || distances > DISTANCES)
        return BAD_COUNTS;
    for (unsigned i = 0; i < given; i++) {
        if (!has(bits, 3))
            return NEED_INPUT;
        lengths_lengths[lengths_order[i]] = (uint8_t)take(bits, 3);
    }
    if (!build(table, LENGTHS_BITS, lengths_lengths, 19, 0, length_entry))
        return BAD_LENGTHS_CODE;
    unsigned all = literals + distances;
    for (unsigned i = 0; i < all;) {
        has(bits, 14);
        uint32_t entry = table[low(bits->buffer, LENGTHS_BITS)];
        unsigned symbol = entry >> 16, extra = symbol < 16 ? 0 : symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
        if (bits->left < size_of(entry) + extra)
            return NEED_INPUT;
        take(bits, size_of(entry));
        if (symbol < 16) {
            lengths[i++] = (uint8_t)symbol;
            continue;
        }
        unsigned times = take(bits, extra) + (symbol == 18 ? 11 : 3);
        if ((symbol == 16 && !i) || times > all - i)
            return BAD_REPEAT;
        memset(lengths + i, symbol == 16 ? lengths[i - 1] : 0, times);
        i += times;
    }
    if (!lengths[256])
        return NO_END_CODE;
    s->has_fixed_tables = 0;
    if (!build(s->literals, LITERAL_BITS, lengths, literals, 1, literal_entry))
        return BAD_LITERALS_CODE;
    if (!build(s->distances, DISTANCE_BITS, lengths + literals, distances, 1, distance_entry))
        return BAD_DISTANCES_CODE;
    keep_end_code(s, lengths, literals);
    pair_literals(s->literals, lengths);
    return GO_ON;
}

/* Read a block's header, all of it or, where input is missing, nothing; or stop in front of it. */
static int begin_block(struct state *s, struct bits *bits, uint64_t whole_bytes)
{
    if (!has(bits, 3))
        return NEED_INPUT;
    unsigned type = (unsigned)(bits->buffer >> 1) & 3, padding = (bits->left - 3) & 7, size = 0;
    if (type == 0) {
        if (!has(bits, 3 + padding + 32))
            return NEED_INPUT;
        uint32_t sizes = (uint32_t)(bits->buffer >> (3 + padding));
        size = sizes & 0xffff;
        if (size != (~sizes >> 16))
            return BAD_STORED_SIZE;
    }
    int final_block = bits->buffer & 1;
    uint32_t kind = final_block || type == 3 || size > whole_bytes ? STOP_AT_OTHERS : STOP_AT_COPYABLE;
    if (s->call.stop == kind)
        return BLOCK;
    int result;
    struct bits before = *bits;
    take(bits, 3);
    if (type == 0) {
        take(bits, padding);
        bits->buffer >>= 32;
        bits->left -= 32;
        s->stored_left = size;
        s->place = STORED;
        result = GO_ON;
    } else {
        result = type == 1 ? fixed_tables(s) : type == 2 ? dynamic_tables(s, bits) : BAD_BLOCK_TYPE;
        s->place = result == GO_ON ? CODED : BETWEEN;
    }
    s->final_block = (uint32_t)final_block;
    if (result == NEED_INPUT)
        *bits = before;
    return result;
}

static int end_block(struct state *s)
{
    s->place = BETWEEN;
    s->call.end_code = s->call.end_bits = 0;
    return s->final_block ? END_OF_STREAM : GO_ON;
}

static int stored(struct state *s, struct bits *bits, uint8_t **out, const uint8_t *out_end)
{
    bits->in -= bits->left / 8; /* whole bytes: the header ended on one */
    bits->left = 0;
    bits->buffer = 0;
    uint64_t count = s->stored_left, given = (uint64_t)(bits->in_end - bits->in), room = (uint64_t)(out_end - *out);
    count = count < given ? count : given;
    count = count < room ? count : room;
    memcpy(*out, bits->in, count);
    *out += count;
    bits->in += count;
    s->stored_left -= (uint32_t)count;
    return !s->stored_left ? end_block(s) : *out == out_end ? OUT_FULL : NEED_INPUT;
}

static inline uint32_t look_up(const uint32_t *table, unsigned table_bits, uint64_t buffer, unsigned *taken)
{
    uint32_t entry = table[low(buffer, table_bits)];
    *taken = 0;
    if ((entry & (LITERAL | SPECIAL | SUBTABLE)) == (SPECIAL | SUBTABLE)) {
        *taken = table_bits;
        entry = table[(entry >> 16) + low(buffer >> table_bits, entry >> 8 & 15)];
    }
    return entry;
}

/* One symbol, for the ends of input and output. */
static int symbol(struct state *s, struct bits *bits, uint8_t **out, const uint8_t *out_end, const uint8_t *oldest)
{
    unsigned taken, more;
    fill(bits);
    uint32_t entry = look_up(s->literals, LITERAL_BITS, bits->buffer, &taken);
    if (entry & LITERAL) {
        unsigned size = taken + (entry & PAIR ? entry >> 24 & 15 : size_of(entry)); /* of a pair, the first alone */
        if (bits->left < size)
            return NEED_INPUT;
        take(bits, size);
        *(*out)++ = (uint8_t)(entry >> 8);
        return GO_ON;
    }
    unsigned size = taken + size_of(entry);
    if (bits->left < size)
        return NEED_INPUT;
    if (entry & SPECIAL) {
        if (!(entry & END))
            return BAD_CODE;
        take(bits, size);
        return end_block(s);
    }
    unsigned length = (entry >> 16) + (low(bits->buffer >> taken, size_of(entry)) >> (entry >> 8 & 15));
    entry = look_up(s->distances, DISTANCE_BITS, bits->buffer >> size, &more);
    if (bits->left < size + more + size_of(entry))
        return NEED_INPUT;
    if (entry & SPECIAL)
        return BAD_CODE;
    size += more;
    unsigned distance = (entry >> 16) + (low(bits->buffer >> size, size_of(entry)) >> (entry >> 8 & 15));
    size += size_of(entry);
    if (distance > (uint64_t)(*out - oldest))
        return BAD_DISTANCE;
    for (; s->call.match_made < length; s->call.match_made++, ++*out) {
        if (*out == out_end)
            return OUT_FULL;
        **out = *(*out - distance);
    }
    s->call.match_made = 0;
    bits->buffer >>= size;
    bits->left -= size;
    return GO_ON;
}

static inline uint8_t *copy_match(uint8_t *out, unsigned distance, unsigned length)
{
    const uint8_t *from = out - distance;
    uint8_t *end = out + length;
    if (distance >= 16) {
        do {
            memcpy(out, from, 16);
            out += 16;
            from += 16;
        } while (out < end);
    } else if (distance == 1) {
        uint64_t eight = *from * 0x0101010101010101u;
        do {
            store64(out, eight);
            store64(out + 8, eight);
            out += 16;
        } while (out < end);
    } else { /* steps of the distance repeat what the step before has written */
        unsigned step = distance < 8 ? distance : 8;
        do {
            store64(out, load64(from));
            out += step;
            from += step;
        } while (out < end);
    }
    return end;
}

#define REFILL()                            \
    do {                                    \
        buffer |= load64(in) << (left & 63); \
        in += (63 - left) >> 3;             \
        left |= 56;                         \
    } while (0)

#define TAKE(entry)                         \
    do {                                    \
        buffer >>= (entry) & 63;            \
        left -= size_of(entry);             \
    } while (0)

#define TAKE_LITERALS(entry)                \
    do {                                    \
        TAKE(entry);                        \
        out[0] = (uint8_t)((entry) >> 8);   \
        out[1] = (uint8_t)((entry) >> 16);  \
        out += 1 + ((entry) >> 30 & 1);     \
    } while (0)

/* Symbols, while there is more than enough of input and room. Bits: a turn looks up at most four literals of 11 bits,
 * or a length of 20 and a distance of 28, each after a refill to 56 or more. */
static inline __attribute__((always_inline)) int symbols(struct state *s, struct bits *bits, uint8_t **out_at,
                                                         uint8_t *out_end, const uint8_t *oldest)
{
    const uint32_t *literals = s->literals, *distances = s->distances;
    const uint8_t *in = bits->in - bits->left / 8, *in_last = bits->in_end - FAST_IN;
    uint8_t *out = *out_at, *out_last = out_end - FAST_OUT;
    uint32_t left = bits->left & 7, entry;
    uint64_t buffer = low(bits->buffer, left), before;
    int result = GO_ON;
    while (in <= in_last && out <= out_last) {
        REFILL();
        entry = literals[low(buffer, LITERAL_BITS)];
        if (entry & LITERAL) {
            TAKE_LITERALS(entry);
            entry = literals[low(buffer, LITERAL_BITS)];
            if (entry & LITERAL) {
                TAKE_LITERALS(entry);
                entry = literals[low(buffer, LITERAL_BITS)];
                if (entry & LITERAL) {
                    TAKE_LITERALS(entry);
                    entry = literals[low(buffer, LITERAL_BITS)];
                    if (entry & LITERAL) {
                        TAKE_LITERALS(entry);
                        continue;
                    }
                }
            }
            REFILL();
        }
        if (entry & SPECIAL) {
            if (entry & SUBTABLE) {
                TAKE(entry);
                entry = literals[(entry >> 16) + low(buffer, entry >> 8 & 15)];
                if (entry & LITERAL) {
                    TAKE_LITERALS(entry);
                    continue;
                }
            }
            if (entry & SPECIAL) {
                if (entry & END) {
                    TAKE(entry);
                    result = end_block(s);
                } else {
                    result = BAD_CODE;
                }
                break;
            }
        }
        before = buffer;
        TAKE(entry);
        unsigned length = (entry >> 16) + (low(before, size_of(entry)) >> (entry >> 8 & 15));
        entry = distances[low(buffer, DISTANCE_BITS)];
        if (entry & SPECIAL) {
            if (entry & SUBTABLE) {
                TAKE(entry);
                entry = distances[(entry >> 16) + low(buffer, entry >> 8 & 15)];
            }
            if (entry & SPECIAL) {
                result = BAD_CODE;
                break;
            }
        }
        before = buffer;
        TAKE(entry);
        unsigned distance = (entry >> 16) + (low(before, size_of(entry)) >> (entry >> 8 & 15));
        if (distance > (uint64_t)(out - oldest)) {
            result = BAD_DISTANCE;
            break;
        }
        out = copy_match(out, distance, length);
    }
    *out_at = out;
    bits->in = in;
    bits->left = left;
    bits->buffer = buffer & (((uint64_t)1 << left) - 1); /* 63 bits at most */
    return result;
}

static int symbols_plain(struct state *s, struct bits *bits, uint8_t **out, uint8_t *out_end, const uint8_t *oldest)
{
    return symbols(s, bits, out, out_end, oldest);
}

#ifdef __x86_64__
#include <cpuid.h>

__attribute__((target("bmi2"))) static int symbols_bmi2(struct state *s, struct bits *bits, uint8_t **out,
                                                         uint8_t *out_end, const uint8_t *oldest)
{
    return symbols(s, bits, out, out_end, oldest);
}

/* Shifts by any register: a tenth faster, and the same results. */
static int has_bmi2(void)
{
    unsigned a, b = 0, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 8 & 1);
}
#endif

static int coded(struct state *s, struct bits *bits, uint8_t **out, uint8_t *out_end, const uint8_t *oldest)
{
    int (*fast)(struct state *, struct bits *, uint8_t **, uint8_t *, const uint8_t *) = symbols_plain;
#ifdef __x86_64__
    static int bmi2 = -1;
    if (bmi2 < 0)
        bmi2 = has_bmi2();
    if (bmi2)
        fast = symbols_bmi2;
#endif
    int result = GO_ON;
    while (result == GO_ON && s->place == CODED) {
        if (!s->call.match_made && bits->in_end - bits->in >= FAST_IN && out_end - *out >= FAST_OUT) {
            result = fast(s, bits, out, out_end, oldest);
            continue;
        }
        result = *out == out_end ? OUT_FULL : symbol(s, bits, out, out_end, oldest);
    }
    return result;
}

EXPORT uint64_t inflate_state_bytes(void)
{
    return sizeof(struct state);
}

EXPORT int inflate_run(struct state *s)
{
    struct call *call = &s->call;
    struct bits bits = {call->in, call->in + call->in_bytes, 0, 0};
    uint8_t *out = call->out, *out_end = call->out + call->out_bytes;
    const uint8_t *oldest = call->out - call->history;
    int result = GO_ON;
    if (call->bit) {
        if (!has(&bits, 8))
            result = NEED_INPUT;
        else
            take(&bits, call->bit);
    }
    while (result == GO_ON) {
        if (s->place == STORED)
            result = stored(s, &bits, &out, out_end);
        else if (s->place == CODED)
            result = coded(s, &bits, &out, out_end, oldest);
        else if (out == out_end) /* as inside of a coded block: nothing is read before there is room */
            result = OUT_FULL;
        else
            result = begin_block(s, &bits, call->whole_bytes - (uint64_t)(out - call->out));
    }
    uint64_t position = (uint64_t)(bits.in - call->in) * 8 - bits.left;
    if (call->in_bytes || !call->bit) {
        call->in_used = position / 8;
        call->bit = position % 8;
    } else {
        call->in_used = 0;
    }
    call->out_made = (uint64_t)(out - call->out);
    return result;
}
