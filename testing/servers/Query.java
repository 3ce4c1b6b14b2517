import java.sql.DriverManager;

/** Prints the rows of one query, their columns apart by tabs. */
public class Query {
    public static void main(String[] arguments) throws Exception {
        try (var connection = DriverManager.getConnection("jdbc:duckdb:");
                var statement = connection.createStatement();
                var rows = statement.executeQuery(arguments[0])) {
            int columns = rows.getMetaData().getColumnCount();
            while (rows.next()) {
                var line = new StringBuilder();
                for (int column = 1; column <= columns; column++) {
                    line.append(column > 1 ? "\t" : "").append(rows.getString(column));
                }
                System.out.println(line);
            }
        }
    }
}
