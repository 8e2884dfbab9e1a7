<?php

// Stands in for Composer's autoloader: the library and its tests lie beside it, phpseclib is on the include path.

require 'phpseclib3/autoload.php';

spl_autoload_register(static function (string $class): void {
    $tree = dirname(__DIR__);
    $folders = ['PhpAmqpLib\\Tests\\' => 'tests', 'PhpAmqpLib\\' => 'PhpAmqpLib'];
    foreach ($folders as $prefix => $folder) {
        if (str_starts_with($class, $prefix)) {
            $file = "$tree/$folder/" . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) {
                require $file;
            }
            return;
        }
    }
});
