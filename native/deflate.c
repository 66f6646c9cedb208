/* Deflate (RFC 1951) whose output is part of the component's format: integers only, no look at the processor.
 *
 * Made for what is not copied from the artifact: many files of a few KiB, and the first 32 KiB of large ones. There the
 * codes are what counts, not the matches: numbers and text in one file want codes of their own, so that blocks are cut
 * wherever two codes are cheaper than one, which other fast encoders do not do below 5,000 bytes.
 */
#include "native.h"

enum { LITERALS = 286, DISTANCES = 30, LENGTHS = 19, END_OF_BLOCK = 256 };
enum { WINDOW = 32768, SHORTEST = 4, LONGEST = 258 };
enum { MOST_TOKENS = 16384, CHUNK_TOKENS = 256 };
enum { CHAIN = 2, GOOD_LENGTH = 24, FAR = 8192 };
enum { FRACTION = 6, LOGS = 1024 }; /* logarithms are kept in 64ths of a bit */
enum { MATCH = 1 << 30 };           /* token: a literal, or MATCH | (length - 3) << 16 | (distance - 1) */
enum { TABLE_BITS = 15 };

struct histogram {
    uint32_t literals[LITERALS + 2], distances[DISTANCES + 2];
};

struct code {
    uint16_t bits[LITERALS + 2];
    uint8_t length[LITERALS + 2];
};

struct packer {
    uint32_t head[1 << TABLE_BITS]; /* the last place of each hash, plus 1 */
    uint32_t previous[WINDOW];      /* the place before it */
    uint32_t tokens[MOST_TOKENS + 1];
    uint32_t n_log2_n[LOGS]; /* and log2_n, what larger ones are put together from */
    uint32_t log2_n[LOGS];
    struct code fixed_literals, fixed_distances;
    uint8_t reversed[256];
    uint8_t length_symbol[256];
    uint8_t distance_symbol[512]; /* of the distance less 1; from 256 on, of its 128ths */
};

struct writer {
    uint8_t *out;
    uint64_t buffer;
    unsigned held;
};

static inline void put(struct writer *w, uint64_t bits, unsigned count) /* at most 32 */
{
    w->buffer |= bits << w->held;
    w->held += count;
    if (w->held >= 32) {
        store64(w->out, w->buffer);
        w->out += 4;
        w->buffer >>= 32;
        w->held -= 32;
    }
}

static void align(struct writer *w)
{
    put(w, 0, -w->held & 7);
    store64(w->out, w->buffer);
    w->out += w->held / 8;
    w->buffer = w->held = 0;
}

EXPORT const char native_source[] = SOURCE; /* the digest of the source that this was built from */

EXPORT uint64_t packer_bytes(void)
{
    return sizeof(struct packer);
}

/* What packing `bytes` takes at most. Blocks have 256 bytes or more and are no larger than stored ones. */
EXPORT uint64_t packed_bound(uint64_t bytes)
{
    return bytes + bytes / 32 + 64;
}

static inline unsigned distance_symbol(const struct packer *p, unsigned less_1)
{
    return p->distance_symbol[less_1 < 256 ? less_1 : 256 + (less_1 >> 7)];
}

/* ---- matches ---- */

struct input {
    const uint8_t *bytes;
    uint32_t size, at;
    unsigned shift; /* of the hash: short inputs need a small table, which is cleared sooner */
};

static inline uint32_t hash(const struct input *in, uint32_t at)
{
    return load32(in->bytes + at) * 0x9E3779B1u >> in->shift;
}

static inline uint32_t insert(struct packer *p, const struct input *in, uint32_t at)
{
    uint32_t *head = &p->head[hash(in, at)], before = *head;
    p->previous[at % WINDOW] = before;
    *head = at + 1;
    return before;
}

static inline unsigned common(const uint8_t *one, const uint8_t *two, unsigned most)
{
    unsigned length = 0;
    while (length + 8 <= most) {
        uint64_t differing = load64(one + length) ^ load64(two + length);
        if (differing)
            return length + (unsigned)__builtin_ctzll(differing) / 8;
        length += 8;
    }
    while (length < most && one[length] == two[length])
        length++;
    return length;
}

/* The longest match at `at` among the last few of its hash, longer than `least`; 0 when there is none. Inserts `at`. */
static unsigned find(struct packer *p, const struct input *in, uint32_t at, unsigned least, uint32_t *distance)
{
    uint32_t candidate = insert(p, in, at);
    unsigned most = in->size - at < LONGEST ? in->size - at : LONGEST, best = least;
    const uint8_t *here = in->bytes + at;
    for (unsigned tries = CHAIN; candidate && tries; tries--) {
        uint32_t away = at - (candidate - 1);
        if (away > WINDOW || best >= most)
            break;
        const uint8_t *there = here - away;
        if (here[best] == there[best] && load32(here) == load32(there)) {
            unsigned length = common(here, there, most);
            if (length > best && (length > SHORTEST || away <= FAR)) {
                best = length;
                *distance = away;
                if (length >= GOOD_LENGTH)
                    break;
            }
        }
        uint32_t before = p->previous[(candidate - 1) % WINDOW];
        if (before >= candidate) /* overwritten: what it says belongs to a place further on */
            break;
        candidate = before;
    }
    return best > least ? best : 0;
}

/* Tokens of the input from `in->at` on, up to MOST_TOKENS of them. */
static uint32_t parse(struct packer *p, struct input *in)
{
    uint32_t count = 0, at = in->at, misses = 0, distance = 0, other = 0;
    uint32_t last = in->size >= 8 ? in->size - 8 : 0; /* where a hash and a look at the next place still fit */
    while (at < in->size && count < MOST_TOKENS) {
        if (at >= last) {
            p->tokens[count++] = in->bytes[at++];
            continue;
        }
        unsigned length = find(p, in, at, SHORTEST - 1, &distance);
        if (!length) { /* the longer nothing is found, the fewer places are tried: numbers rarely repeat */
            unsigned step = 1 + (misses < 2 << 7 ? misses >> 7 : 2);
            for (misses++; step && at < last && count < MOST_TOKENS; step--)
                p->tokens[count++] = in->bytes[at++];
            continue;
        }
        misses = 0;
        if (length < GOOD_LENGTH && at + 1 < last && count + 1 < MOST_TOKENS) {
            unsigned longer = find(p, in, at + 1, length, &other);
            if (longer) {
                p->tokens[count++] = in->bytes[at++];
                length = longer;
                distance = other;
            }
        }
        p->tokens[count++] = MATCH | (length - 3) << 16 | (distance - 1);
        for (uint32_t end = at + length, i = at + 2; i < end && i < last; i++)
            insert(p, in, i);
        at += length;
    }
    in->at = at;
    return count;
}

/* ---- blocks ---- */

static void count_tokens(const struct packer *p, const uint32_t *tokens, uint32_t count, struct histogram *h)
{
    memset(h, 0, sizeof *h);
    for (uint32_t i = 0; i < count; i++) {
        if (tokens[i] & MATCH) {
            h->literals[257 + p->length_symbol[tokens[i] >> 16 & 0xff]]++;
            h->distances[distance_symbol(p, tokens[i] & 0xffff)]++;
        } else {
            h->literals[tokens[i]]++;
        }
    }
}

static inline uint32_t n_log2_n(const struct packer *p, uint32_t n)
{
    if (n < LOGS)
        return p->n_log2_n[n];
    unsigned shift = top_bit(n) - 9;
    return n * (p->log2_n[n >> shift] + (shift << FRACTION));
}

/* About what a block of these symbols takes, in 64ths of a bit: their entropy, and a code of so many symbols. */
static uint32_t estimate(const struct packer *p, const struct histogram *one, const struct histogram *other)
{
    uint32_t all = 0, matches = 0, saved = 0, used = 0;
    for (unsigned i = 0; i < LITERALS; i++) {
        uint32_t n = one->literals[i] + other->literals[i];
        all += n;
        saved += n_log2_n(p, n);
        used += n != 0;
    }
    for (unsigned i = 0; i < DISTANCES; i++) {
        uint32_t n = one->distances[i] + other->distances[i];
        matches += n;
        saved += n_log2_n(p, n);
        used += n != 0;
    }
    return n_log2_n(p, all) + n_log2_n(p, matches) - saved + ((60 + used * 7 / 2) << FRACTION);
}

static void sort_by_count(uint32_t *keys, unsigned count) /* keys: count << 9 | symbol, counts of 16 bits */
{
    uint32_t other[LITERALS + 2], *from = keys, *to = other;
    for (unsigned shift = 9; shift < 25; shift += 8) {
        unsigned places[257] = {0};
        for (unsigned i = 0; i < count; i++)
            places[(from[i] >> shift & 0xff) + 1]++;
        for (unsigned i = 1; i < 256; i++)
            places[i] += places[i - 1];
        for (unsigned i = 0; i < count; i++)
            to[places[from[i] >> shift & 0xff]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
}

/* Depths of a Huffman tree over weights in ascending order, in their place (Moffat and Katajainen, 1995). */
static void depths(uint32_t *w, int n)
{
    int leaf = 0, root = 0;
    for (int next = 0; next < n - 1; next++) {
        uint32_t sum = 0;
        for (int two = 0; two < 2; two++) {
            if (leaf >= n || (root < next && w[root] < w[leaf])) {
                sum += w[root];
                w[root++] = (uint32_t)next;
            } else {
                sum += w[leaf++];
            }
        }
        w[next] = sum;
    }
    w[n - 2] = 0;
    for (int next = n - 3; next >= 0; next--)
        w[next] = w[w[next]] + 1;
    int available = 1, used = 0, next = n - 1;
    uint32_t depth = 0;
    for (root = n - 2; available > 0; depth++) {
        for (used = 0; root >= 0 && w[root] == depth; root--)
            used++;
        for (; available > used; available--)
            w[next--] = depth;
        available = 2 * used;
    }
}

/* The codes that belong to the lengths, first bit lowest; `counts` says how many symbols have each length. */
static void assign(const struct packer *p, struct code *code, unsigned symbols, const unsigned *counts)
{
    unsigned next[17] = {0};
    for (unsigned bits = 1; bits < 15; bits++)
        next[bits + 1] = (next[bits] + counts[bits]) << 1;
    for (unsigned i = 0; i < symbols; i++) {
        unsigned bits = code->length[i], value = next[bits]++;
        code->bits[i] = (uint16_t)(((unsigned)p->reversed[value & 0xff] << 8 | p->reversed[value >> 8 & 0xff]) >> (16 - bits));
    }
}

static void begin_fixed_codes(struct packer *p)
{
    static const unsigned counts[] = {0, 0, 0, 0, 0, 0, 0, 24, 152, 112, 0, 0, 0, 0, 0, 0};
    static const unsigned distance_counts[] = {0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    memset(p->fixed_literals.length, 8, LITERALS + 2);
    memset(p->fixed_literals.length + 144, 9, 112);
    memset(p->fixed_literals.length + 256, 7, 24);
    memset(p->fixed_distances.length, 5, DISTANCES + 2);
    assign(p, &p->fixed_literals, LITERALS + 2, counts);
    assign(p, &p->fixed_distances, DISTANCES + 2, distance_counts);
}

/* A complete code of at most `longest` bits; symbols 0 and 1 are used if fewer than two are: half a code breaks readers. */
static void make_code(const struct packer *p, const uint32_t *counts, unsigned symbols, unsigned longest, struct code *code)
{
    uint32_t keys[LITERALS + 2], weights[LITERALS + 2];
    unsigned used = 0, lengths[16] = {0};
    memset(code->length, 0, symbols);
    for (unsigned i = 0; i < symbols; i++)
        if (counts[i])
            keys[used++] = counts[i] << 9 | i;
    for (unsigned i = 0; used < 2; i++)
        if (!counts[i])
            keys[used++] = i;
    sort_by_count(keys, used);
    for (unsigned i = 0; i < used; i++)
        weights[i] = keys[i] >> 9;
    depths(weights, (int)used);
    for (unsigned i = 0; i < used; i++)
        lengths[weights[i] < longest ? weights[i] : longest]++;
    uint32_t sum = 0;
    for (unsigned bits = 1; bits <= longest; bits++)
        sum += lengths[bits] << (longest - bits);
    while (sum > 1u << longest) { /* cut too short: lengthen the longest that can be, and pair it with one of the last */
        unsigned bits = longest - 1;
        while (!lengths[bits])
            bits--;
        lengths[bits]--;
        lengths[bits + 1] += 2;
        lengths[longest]--;
        sum--;
    }
    for (unsigned bits = longest, i = 0; bits; bits--)
        for (unsigned n = lengths[bits]; n; n--)
            code->length[keys[i++] & 511] = (uint8_t)bits;
    assign(p, code, symbols, lengths);
}

struct header {
    struct code code;
    uint8_t symbols[LITERALS + DISTANCES], extra[LITERALS + DISTANCES];
    unsigned count, literals, distances, given;
};

/* The code lengths of both codes, in runs, and a code for them; the number of bits they take. */
static unsigned describe(const struct packer *p, const struct code *literals, const struct code *distances, struct header *h)
{
    uint8_t lengths[LITERALS + DISTANCES];
    uint32_t counts[LENGTHS] = {0};
    for (h->literals = LITERALS; h->literals > 257 && !literals->length[h->literals - 1];)
        h->literals--;
    for (h->distances = DISTANCES; h->distances > 1 && !distances->length[h->distances - 1];)
        h->distances--;
    memcpy(lengths, literals->length, h->literals);
    memcpy(lengths + h->literals, distances->length, h->distances);
    unsigned all = h->literals + h->distances;
    h->count = 0;
    for (unsigned i = 0, run; i < all; i += run) {
        unsigned value = lengths[i], symbol = value, extra = 0;
        for (run = 1; i + run < all && lengths[i + run] == value && run < (value ? 6 : 138);)
            run++;
        if (!value && run >= 3) {
            symbol = run < 11 ? 17 : 18;
            extra = run - (run < 11 ? 3 : 11);
        } else if (value && i && lengths[i - 1] == value && run >= 3) {
            symbol = 16;
            extra = run - 3;
        } else {
            run = 1;
        }
        h->symbols[h->count] = (uint8_t)symbol;
        h->extra[h->count++] = (uint8_t)extra;
        counts[symbol]++;
    }
    make_code(p, counts, LENGTHS, 7, &h->code);
    for (h->given = LENGTHS; h->given > 4 && !h->code.length[lengths_order[h->given - 1]];)
        h->given--;
    unsigned bits = 14 + 3 * h->given;
    for (unsigned i = 0; i < LENGTHS; i++)
        bits += counts[i] * (h->code.length[i] + (i == 16 ? 2u : i == 17 ? 3u : i == 18 ? 7u : 0u));
    return bits;
}

static void put_header(struct writer *w, const struct header *h)
{
    put(w, (h->literals - 257) | (h->distances - 1) << 5 | (h->given - 4) << 10, 14);
    for (unsigned i = 0; i < h->given; i++)
        put(w, h->code.length[lengths_order[i]], 3);
    for (unsigned i = 0; i < h->count; i++) {
        unsigned symbol = h->symbols[i], bits = h->code.length[symbol];
        put(w, h->code.bits[symbol] | (unsigned)h->extra[i] << bits, bits + (symbol == 16 ? 2 : symbol == 17 ? 3 : symbol == 18 ? 7 : 0));
    }
}

static void put_tokens(const struct packer *p, struct writer *to, const uint32_t *tokens, uint32_t count,
                       const struct code *literals, const struct code *distances)
{
    struct writer here = *to, *w = &here; /* in registers */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t token = tokens[i];
        if (!(token & MATCH)) {
            put(w, literals->bits[token], literals->length[token]);
            continue;
        }
        unsigned length = token >> 16 & 0xff, distance = token & 0xffff, symbol = p->length_symbol[length];
        unsigned bits = literals->length[257 + symbol];
        put(w, literals->bits[257 + symbol] | (length + 3 - length_base[symbol]) << bits, bits + length_extra[symbol]);
        symbol = distance_symbol(p, distance);
        bits = distances->length[symbol];
        put(w, distances->bits[symbol] | (distance + 1 - distance_base[symbol]) << bits, bits + distance_extra[symbol]);
    }
    put(w, literals->bits[END_OF_BLOCK], literals->length[END_OF_BLOCK]);
    *to = here;
}

static uint64_t cost(const struct histogram *h, const struct code *literals, const struct code *distances)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < LITERALS; i++)
        bits += h->literals[i] * (literals->length[i] + (i > 256 ? length_extra[i - 257] : 0u));
    for (unsigned i = 0; i < DISTANCES; i++)
        bits += h->distances[i] * (distances->length[i] + (uint64_t)distance_extra[i]);
    return bits;
}

static void put_stored(struct writer *w, const uint8_t *bytes, uint32_t size, int last)
{
    do {
        uint32_t part = size < 0xffff ? size : 0xffff;
        put(w, last && part == size, 3);
        align(w);
        put(w, part | (~part & 0xffff) << 16, 32);
        align(w);
        memcpy(w->out, bytes, part);
        w->out += part;
        bytes += part;
        size -= part;
    } while (size);
}

/* One block of these tokens, which stand for `size` bytes: the smallest of the three kinds. */
static void put_block(const struct packer *p, struct writer *w, const uint32_t *tokens, uint32_t count,
                      struct histogram *h, const uint8_t *bytes, uint32_t size, int last)
{
    struct code literals, distances;
    struct header header;
    h->literals[END_OF_BLOCK] = 1;
    make_code(p, h->literals, LITERALS, 15, &literals);
    make_code(p, h->distances, DISTANCES, 15, &distances);
    uint64_t dynamic = describe(p, &literals, &distances, &header) + cost(h, &literals, &distances);
    uint64_t fixed = cost(h, &p->fixed_literals, &p->fixed_distances), plain = size * (uint64_t)8 + (size / 0xffff + 1) * 39;
    if (plain <= dynamic && plain <= fixed) {
        put_stored(w, bytes, size, last);
    } else if (fixed <= dynamic) {
        put(w, (unsigned)last | 1 << 1, 3);
        put_tokens(p, w, tokens, count, &p->fixed_literals, &p->fixed_distances);
    } else {
        put(w, (unsigned)last | 2 << 1, 3);
        put_header(w, &header);
        put_tokens(p, w, tokens, count, &literals, &distances);
    }
}

static uint32_t bytes_of(const uint32_t *tokens, uint32_t count)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += tokens[i] & MATCH ? (tokens[i] >> 16 & 0xff) + 3 : 1;
    return bytes;
}

static void add(struct histogram *to, const struct histogram *more)
{
    for (unsigned i = 0; i < LITERALS; i++)
        to->literals[i] += more->literals[i];
    for (unsigned i = 0; i < DISTANCES; i++)
        to->distances[i] += more->distances[i];
}

/* Blocks of all tokens: chunk after chunk joins the block before it, unless two codes are cheaper than one. */
static void put_blocks(const struct packer *p, struct writer *w, uint32_t count, const uint8_t *bytes, int last)
{
    static const struct histogram nothing;
    struct histogram block, chunk;
    uint32_t start = 0, end = count < CHUNK_TOKENS ? count : CHUNK_TOKENS;
    count_tokens(p, p->tokens, end, &block);
    uint32_t block_cost = estimate(p, &block, &nothing);
    while (end < count) {
        uint32_t more = count - end < CHUNK_TOKENS ? count - end : CHUNK_TOKENS;
        count_tokens(p, p->tokens + end, more, &chunk);
        uint32_t chunk_cost = estimate(p, &chunk, &nothing), both_cost = estimate(p, &block, &chunk);
        if (both_cost <= block_cost + chunk_cost) {
            add(&block, &chunk);
            block_cost = both_cost;
        } else {
            uint32_t size = bytes_of(p->tokens + start, end - start);
            put_block(p, w, p->tokens + start, end - start, &block, bytes, size, 0);
            bytes += size;
            start = end;
            block = chunk;
            block_cost = chunk_cost;
        }
        end += more;
    }
    put_block(p, w, p->tokens + start, end - start, &block, bytes, bytes_of(p->tokens + start, end - start), last);
}

EXPORT void packer_begin(struct packer *p)
{
    memset(p, 0, sizeof *p);
    for (uint32_t i = 1; i < LOGS; i++) { /* bit by bit: the square has twice the logarithm */
        uint64_t x = (uint64_t)i << (31 - top_bit(i));
        uint32_t log = top_bit(i);
        for (unsigned k = 0; k < FRACTION; k++) {
            x = x * x >> 31;
            log = log * 2 + (uint32_t)(x >> 32);
            x >>= x >> 32;
        }
        p->log2_n[i] = log;
        p->n_log2_n[i] = i * log;
    }
    for (unsigned i = 0; i < 256; i++)
        for (unsigned k = 0; k < 8; k++)
            p->reversed[i] |= (uint8_t)((i >> k & 1) << (7 - k));
    begin_fixed_codes(p);
    for (unsigned symbol = 0; symbol < 29; symbol++)
        for (unsigned i = length_base[symbol] - 3u; i < 256 && i < length_base[symbol] - 3u + (1u << length_extra[symbol]); i++)
            p->length_symbol[i] = (uint8_t)symbol;
    for (unsigned symbol = 0; symbol < DISTANCES; symbol++)
        for (unsigned i = distance_base[symbol] - 1u; i < distance_base[symbol] - 1u + (1u << distance_extra[symbol]); i++)
            if (i < 256)
                p->distance_symbol[i] = (uint8_t)symbol;
            else
                p->distance_symbol[256 + (i >> 7)] = (uint8_t)symbol;
}

/* Pack `size` bytes into `out`, which has room for packed_bound(size); how many it took. `last` ends the stream;
 * otherwise an empty stored block ends it on a byte, where anything can follow. */
static uint64_t pack(struct packer *p, const uint8_t *bytes, uint32_t size, uint8_t *out, int last)
{
    unsigned bits = size < 256 ? 8 : top_bit(size) + 1 < TABLE_BITS ? top_bit(size) + 1 : TABLE_BITS;
    struct input in = {bytes, size, 0, 32 - bits};
    struct writer w = {out, 0, 0};
    memset(p->head, 0, sizeof *p->head << bits);
    while (in.at < size) {
        const uint8_t *from = bytes + in.at;
        uint32_t count = parse(p, &in);
        put_blocks(p, &w, count, from, last && in.at == size);
    }
    if (!last)
        put_stored(&w, bytes, 0, 0);
    else if (!size)
        put(&w, 3, 10);
    align(&w);
    return (uint64_t)(w.out - out);
}

/* Pack pieces that lie one behind the other, each into a stream of its own; `sizes` becomes what each of them took. */
EXPORT void pack_each(struct packer *p, const uint8_t *bytes, uint32_t *sizes, uint32_t count, uint8_t *out, int last)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = sizes[i];
        sizes[i] = (uint32_t)pack(p, bytes, size, out, last);
        bytes += size;
        out += sizes[i];
    }
}
