import java.io.FileInputStream;
import java.security.KeyStore;
import java.util.Base64;

/** Prints the key named by the last argument, and the certificates that go with it, as PEM. The others are the PKCS12 file and its password. */
public class Pem {
    public static void main(String[] arguments) throws Exception {
        var password = arguments[1].toCharArray();
        var store = KeyStore.getInstance("PKCS12");
        try (var file = new FileInputStream(arguments[0])) {
            store.load(file, password);
        }
        print("PRIVATE KEY", store.getKey(arguments[2], password).getEncoded());
        for (var certificate : store.getCertificateChain(arguments[2])) {
            print("CERTIFICATE", certificate.getEncoded());
        }
    }

    private static void print(String kind, byte[] bytes) {
        var text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(bytes);
        System.out.println("-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----");
    }
}
