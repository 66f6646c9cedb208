import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * Unpacks ZIPs as devices do: every entry of the directory that is no folder, to its end, whatever the directory says
 * of it. Paths come in as lines; each is answered by lines of size, CRC-32 and name in hexadecimal, or by an error, and
 * an empty line.
 */
public final class ReadZips {
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    private static final byte[] BUFFER = new byte[1 << 18];

    public static void main(String[] arguments) throws Exception {
        BufferedReader paths = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String path = paths.readLine(); path != null; path = paths.readLine()) {
            try (ZipFile zip = new ZipFile(path)) {
                for (ZipEntry entry : Collections.list(zip.entries())) {
                    if (!entry.isDirectory()) {
                        tell(zip, entry);
                    }
                }
            } catch (Exception refused) {
                OUT.println("error " + refused.getClass().getSimpleName());
            }
            OUT.println();
            OUT.flush();
        }
    }

    private static void tell(ZipFile zip, ZipEntry entry) throws Exception {
        CRC32 crc = new CRC32();
        long size = 0;
        try (InputStream content = zip.getInputStream(entry)) {
            for (int count = content.read(BUFFER); count >= 0; count = content.read(BUFFER)) {
                crc.update(BUFFER, 0, count);
                size += count;
            }
        }
        StringBuilder name = new StringBuilder();
        for (byte each : entry.getName().getBytes(StandardCharsets.UTF_8)) {
            name.append(String.format("%02x", each));
        }
        OUT.println(size + " " + crc.getValue() + " " + name);
    }
}
