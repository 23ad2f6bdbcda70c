<?php

// Delivers the requests that standard input lists to the example controller, in a Laravel application; prints the statuses.
// `config` is `services.makegood`; a missing key is an unset variable.

declare(strict_types=1);

namespace App\Http\Controllers {
    require 'Illuminate/autoload.php';
    require __DIR__ . '/../../sdks/php/autoload.php';

    class Controller extends \Illuminate\Routing\Controller
    {
    }

    require __DIR__ . '/../../sdks/php/examples/RepairController.php';
}

namespace {
    use App\Http\Controllers\RepairController;
    use Illuminate\Http\Request;

    $given = json_decode(stream_get_contents(STDIN), true, 64, JSON_THROW_ON_ERROR);
    $app = new Illuminate\Foundation\Application(sys_get_temp_dir());
    $app->instance('config', new Illuminate\Config\Repository([
        'app' => ['key' => 'base64:' . base64_encode(random_bytes(32)), 'cipher' => 'AES-256-CBC'],
        'cache' => ['default' => 'array', 'stores' => ['array' => ['driver' => 'array']], 'prefix' => ''],
        'queue' => ['default' => 'sync', 'connections' => ['sync' => ['driver' => 'sync']]],
        'view' => ['paths' => [], 'compiled' => sys_get_temp_dir()],
        'logging' => ['default' => 'null', 'channels' => ['null' => ['driver' => 'monolog', 'handler' => Monolog\Handler\NullHandler::class]]],
        'services' => ['makegood' => $given['config']],
    ]));
    $app->instance(Illuminate\Contracts\Debug\ExceptionHandler::class, new Illuminate\Foundation\Exceptions\Handler($app));
    Illuminate\Support\Facades\Facade::setFacadeApplication($app);
    foreach (['Bus\Bus', 'Cache\Cache', 'Encryption\Encryption', 'Queue\Queue', 'View\View', 'Filesystem\Filesystem'] as $name) {
        $app->register("Illuminate\\{$name}ServiceProvider");
    }
    $app->boot();
    $app['router']->post('/api/makegood/repair', RepairController::class);
    $statuses = [];
    foreach ($given['requests'] as ['headers' => $headers, 'body' => $body]) {
        $request = Request::create('/api/makegood/repair', 'POST', [], [], [], [], $body);
        foreach ($headers as [$name, $value]) {
            $request->headers->set($name, $value, false);
        }
        $request->headers->set('Accept', 'application/json'); // so that an error is rendered without the app's views
        $app->instance('request', $request);
        $statuses[] = $app['router']->dispatch($request)->getStatusCode();
    }
    echo json_encode($statuses, JSON_THROW_ON_ERROR);
}
