import io.tus.java.client.TusClient;
import io.tus.java.client.TusURLMemoryStore;
import io.tus.java.client.TusUpload;
import io.tus.java.client.TusUploader;
import java.io.File;
import java.net.URI;
import java.util.Map;

/**
 * One upload by tus-java-client, as the sample of its page has it. Arguments: the mount, the file, bytes of one request,
 * and the URL of an upload to resume, if there is one. Prints the URL as soon as it is known, and "done" at the end; ends
 * with a stack trace and code 1 when the client gives up.
 */
public final class Upload {
  private Upload() {}

  public static void main(String[] arguments) throws Exception {
    TusClient client = new TusClient();
    client.setUploadCreationURL(URI.create(arguments[0]).toURL());
    TusURLMemoryStore urls = new TusURLMemoryStore();
    client.enableResuming(urls);
    TusUpload upload = new TusUpload(new File(arguments[1]));
    upload.setMetadata(Map.of("filename", new File(arguments[1]).getName(), "filetype", "video/mp4"));
    if (arguments.length > 3) {
      urls.set(upload.getFingerprint(), URI.create(arguments[3]).toURL());
    }
    TusUploader uploader = client.resumeOrCreateUpload(upload);
    System.out.println(uploader.getUploadURL());
    System.out.flush();
    uploader.setChunkSize(64 << 10);
    uploader.setRequestPayloadSize(Integer.parseInt(arguments[2]));
    while (uploader.uploadChunk() > -1) {
      // The next one.
    }
    uploader.finish();
    System.out.println("done");
  }
}
