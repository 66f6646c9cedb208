import java.io.FileInputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;

/**
 * Prints size, CRC-32 and name of every entry of each ZIP, unpacked by the directory (file) or front to back (stream),
 * with an empty line behind each ZIP.
 */
public final class ReadZip {
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    private static final byte[] BUFFER = new byte[1 << 18];

    public static void main(String[] arguments) throws Exception {
        for (int each = 1; each < arguments.length; each++) {
            if (arguments[0].equals("file")) {
                byDirectory(arguments[each]);
            } else {
                frontToBack(arguments[each]);
            }
            OUT.println();
        }
        OUT.flush();
    }

    private static void byDirectory(String path) throws Exception {
        try (ZipFile zip = new ZipFile(path)) {
            for (ZipEntry entry : Collections.list(zip.entries())) {
                try (InputStream content = zip.getInputStream(entry)) {
                    tell(entry, content);
                }
            }
        }
    }

    private static void frontToBack(String path) throws Exception {
        try (ZipInputStream zip = new ZipInputStream(new FileInputStream(path))) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                tell(entry, zip);
            }
        }
    }

    private static void tell(ZipEntry entry, InputStream content) throws Exception {
        CRC32 crc = new CRC32();
        long size = 0;
        for (int count = content.read(BUFFER); count >= 0; count = content.read(BUFFER)) {
            crc.update(BUFFER, 0, count);
            size += count;
        }
        OUT.println(size + " " + crc.getValue() + " " + entry.getName());
    }
}
