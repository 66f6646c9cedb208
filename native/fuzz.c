/* Both halves held against zlib, for sanitizers: cc -O1 -g -fsanitize=address,undefined fuzz.c deflate.c -lz
 *
 * fuzz SEED COUNT: streams that were damaged or made up are judged as zlib judges them, give the same bytes however
 * input and output are cut, and every buffer has exactly the size that was told. What is packed unpacks to its bytes.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "inflate.c"

uint64_t packer_bytes(void), packed_bound(uint64_t bytes);
void packer_begin(void *packer), pack_each(void *, const uint8_t *, uint32_t *, uint32_t, uint8_t *, int);

enum { MOST = 1 << 16, TAIL = 700, BASES = 400 };
enum verdict { WHOLE, CUT, DAMAGED };
struct outcome {
    enum verdict verdict;
    unsigned made, used;
    uint8_t out[MOST];
};

static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (unsigned)((seed >> 11) % below);
}

static void by_zlib(const uint8_t *in, unsigned size, struct outcome *o)
{
    z_stream z = {.next_in = (uint8_t *)in, .avail_in = size, .next_out = o->out, .avail_out = MOST};
    inflateInit2(&z, -15);
    int result = inflate(&z, Z_SYNC_FLUSH);
    o->verdict = result == Z_STREAM_END ? WHOLE : result == Z_DATA_ERROR ? DAMAGED : CUT;
    o->made = MOST - z.avail_out;
    o->used = size - z.avail_in;
    inflateEnd(&z);
}

static void by_us(const uint8_t *in, unsigned size, int cuts, struct outcome *o)
{
    static struct state s;
    memset(&s, 0, sizeof s);
    unsigned at = 0, given = 0, stop = cuts ? draw(3) : 0;
    o->made = 0;
    for (;;) {
        unsigned step = cuts ? 1 + draw(draw(2) ? 5 : 900) : size, room = cuts ? draw(draw(2) ? 5 : 900) : MOST;
        given = (given > at ? given : at) + step < size ? (given > at ? given : at) + step : size;
        room = room < MOST - o->made ? room : MOST - o->made;
        unsigned history = o->made < 32768 ? o->made : 32768;
        uint8_t *input = malloc(given - at), *output = malloc(history + room);
        memcpy(input, in + at, given - at);
        memcpy(output, o->out + o->made - history, history);
        s.call.in = input, s.call.in_bytes = given - at, s.call.out = output + history, s.call.out_bytes = room;
        s.call.history = history, s.call.stop = stop, s.call.whole_bytes = draw(70000);
        int result = inflate_run(&s);
        memcpy(o->out + o->made, output + history, s.call.out_made);
        o->made += (unsigned)s.call.out_made, at += (unsigned)s.call.in_used;
        free(input), free(output);
        stop = result == BLOCK ? 0 : cuts ? draw(3) : 0;
        o->used = at + (s.call.bit != 0);
        if (result < 0 || result == END_OF_STREAM || o->made == MOST || (result == NEED_INPUT && given == size)) {
            o->verdict = result < 0 ? DAMAGED : result == END_OF_STREAM ? WHOLE : CUT;
            return;
        }
    }
}

static void judge(uint8_t *in, unsigned size, unsigned *counts) /* `in` has room for TAIL more */
{
    static struct outcome theirs, ours, again;
    by_zlib(in, size, &theirs);
    by_us(in, size, 0, &ours);
    by_us(in, size, 1, &again);
    counts[theirs.verdict]++;
    unsigned both = theirs.made < ours.made ? theirs.made : ours.made;
    int same = again.verdict == ours.verdict && again.made == ours.made && !memcmp(again.out, ours.out, ours.made);
    same &= !memcmp(theirs.out, ours.out, both) && (ours.verdict == DAMAGED || again.used == ours.used);
    if (theirs.verdict == WHOLE)
        same &= ours.verdict == WHOLE && ours.made == theirs.made && ours.used == theirs.used;
    else if (theirs.verdict != ours.verdict && both < MOST) { /* one sees earlier what is wrong with a header cut off */
        memset(in + size, 0, TAIL);
        by_zlib(in, size + TAIL, &theirs);
        by_us(in, size + TAIL, 0, &ours);
        same &= ours.verdict == DAMAGED && theirs.verdict == DAMAGED;
    }
    if (same)
        return;
    printf("differs: zlib %d, %u bytes, ours %d, %u bytes:", theirs.verdict, theirs.made, ours.verdict, ours.made);
    for (unsigned i = 0; i < size; i++)
        printf("%s%02x", i ? "" : " ", in[i]);
    printf("\n");
    exit(1);
}

static unsigned content(uint8_t *to, unsigned most)
{
    unsigned size = draw(4) ? draw(most / 8) : draw(most), kinds = 1 + draw(4), at = 0;
    while (kinds--) {
        unsigned end = kinds ? at + draw(size - at + 1) : size, kind = draw(5), n = 1 + draw(256), back = 1 + draw(400);
        for (; at < end; at++)
            to[at] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? draw(256) : kind == 2 ? draw(n) : at >= back && draw(30) ? to[at - back] : draw(n));
    }
    return size;
}

static unsigned base(uint8_t *to, unsigned room)
{
    static uint8_t data[5000];
    unsigned size = content(data, sizeof data), half = draw(size + 1);
    z_stream z = {.next_in = data, .avail_in = half, .next_out = to, .avail_out = room};
    deflateInit2(&z, (int)draw(10), Z_DEFLATED, -(9 + (int)draw(7)), 1 + (int)draw(9), (int)draw(5));
    deflate(&z, (int)draw(4));
    z.avail_in = size - half;
    deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* A dynamic block whose codes were drawn: complete, incomplete or over-subscribed, and noise behind it. */
static unsigned made_up(uint8_t *to)
{
    uint64_t bit = 0;
    unsigned literals = 257 + draw(draw(4) ? 30 : 32), distances = 1 + draw(draw(4) ? 30 : 32), size = 2 + draw(12);
    uint8_t lengths[320] = {0};
    memset(to, 0, 400);
#define PUT(value, count)                                                  \
    for (unsigned k_ = 0; k_ < (unsigned)(count); k_++, bit++)             \
        to[bit / 8] |= (uint8_t)(((unsigned)(value) >> k_ & 1) << bit % 8)
    for (unsigned half = 0; half < 2; half++) {
        unsigned start = half ? literals : 0, count = half ? distances : literals, depth = 1, n = size;
        for (unsigned left = 1u << 15, bits; n && left; n--) { /* split what is left: complete when it comes to 0 */
            for (bits = depth; bits < 15 && 1u << (15 - bits) > left; bits++)
                ;
            lengths[start + (half ? draw(count) : n == 1 ? 256 : draw(count))] = (uint8_t)bits;
            left -= left < 1u << (15 - bits) ? left : 1u << (15 - bits);
            depth = bits < 15 && draw(3) ? bits + 1 : bits;
            if (n == 2 && draw(5)) /* the last two as long */
                depth = bits;
        }
        size = draw(8);
    }
    if (!draw(6))
        lengths[draw(literals + distances)] = (uint8_t)draw(16);
    PUT(5, 3);
    PUT(literals - 257, 5);
    PUT(distances - 1, 5);
    PUT(15, 4);
    PUT(0, 9);
    for (unsigned i = 0; i < 16; i++)
        PUT(4, 3);
    for (unsigned i = 0; i < literals + distances; i++)
        for (unsigned k = 4; k--;)
            PUT(lengths[i] >> k, 1);
    unsigned bytes = (unsigned)((bit + 7) / 8), noise = draw(3) ? draw(60) : 0;
    for (unsigned i = 0; i < noise; i++)
        to[bytes++] = (uint8_t)draw(256);
    return bytes;
}

static void packs(void *packer)
{
    static uint8_t data[MOST], found[MOST];
    uint32_t size = content(data, MOST - 1), packed = size;
    int last = (int)draw(2);
    uint8_t *exact = malloc(size), *room = malloc(packed_bound(size) + 2);
    memcpy(exact, data, size);
    pack_each(packer, exact, &packed, 1, room, last);
    if (!last)
        room[packed++] = 3, room[packed++] = 0;
    z_stream z = {.next_in = room, .avail_in = packed, .next_out = found, .avail_out = MOST};
    inflateInit2(&z, -15);
    if (inflate(&z, Z_FINISH) != Z_STREAM_END || z.avail_in || MOST - z.avail_out != size || memcmp(found, data, size))
        printf("packed %u bytes, and they do not unpack\n", size), exit(1);
    inflateEnd(&z);
    free(exact), free(room);
}

int main(int count_of_arguments, char **arguments)
{
    static uint8_t bases[BASES][8192], stream[8192 + TAIL];
    static unsigned sizes[BASES];
    uint64_t start = count_of_arguments > 1 ? strtoull(arguments[1], 0, 10) : 1;
    uint64_t count = count_of_arguments > 2 ? strtoull(arguments[2], 0, 10) : 100000;
    unsigned counts[3] = {0}, size;
    void *packer = malloc(packer_bytes());
    seed = start * 0x9E3779B97F4A7C15u + 1;
    packer_begin(packer);
    for (unsigned i = 0; i < BASES; i++)
        sizes[i] = base(bases[i], sizeof *bases);
    for (uint64_t i = 0; i < count; i++) {
        if (!draw(3)) {
            size = made_up(stream);
        } else {
            unsigned which = draw(BASES), changes = draw(5);
            memcpy(stream, bases[which], size = sizes[which]);
            while (changes-- && size) {
                unsigned at = draw(draw(2) && size > 40 ? 40 : size), kind = draw(8);
                if (kind < 5)
                    stream[at] ^= (uint8_t)(1u << draw(8));
                else if (kind < 6)
                    stream[at] = (uint8_t)draw(256);
                else if (kind < 7)
                    size = at;
                else
                    memmove(stream + at, stream + at + 1, --size - at);
            }
        }
        judge(stream, size, counts);
        if (i % 50 == 0)
            packs(packer);
    }
    printf("%llu streams: %u whole, %u cut, %u damaged; judged alike\n", (unsigned long long)count, counts[0], counts[1], counts[2]);
    free(packer);
    return 0;
}
