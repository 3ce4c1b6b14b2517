import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.hbase.thrift.generated.ColumnDescriptor;
import org.apache.hadoop.hbase.thrift.generated.Hbase;
import org.apache.hadoop.hbase.thrift.generated.TScan;
import org.apache.thrift.protocol.TBinaryProtocol;
import org.apache.thrift.transport.TSocket;

/** `make HOST PORT TABLE FAMILY` makes a table; `rows HOST PORT TABLE` prints the key and the first cell of each row, apart by a tab. */
public class Rows {
    public static void main(String[] arguments) throws Exception {
        try (var socket = new TSocket(arguments[1], Integer.parseInt(arguments[2]))) {
            socket.open();
            var client = new Hbase.Client(new TBinaryProtocol(socket));
            var table = bytes(arguments[3]);
            if (arguments[0].equals("make")) {
                var family = new ColumnDescriptor();
                family.setName(bytes(arguments[4] + ":"));
                client.createTable(table, List.of(family));
                return;
            }
            int scanner = client.scannerOpenWithScan(table, new TScan(), Map.of());
            for (var rows = client.scannerGetList(scanner, 1000); !rows.isEmpty(); ) {
                for (var row : rows) {
                    var cell = row.getColumns().values().iterator().next();
                    System.out.println(text(row.getRow()) + "\t" + text(cell.getValue()));
                }
                rows = client.scannerGetList(scanner, 1000);
            }
            client.scannerClose(scanner);
        }
    }

    private static ByteBuffer bytes(String text) {
        return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
